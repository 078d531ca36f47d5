//! `clsa report` as a user meets it: a run pretrained, evaluated and reported by the program itself.

#[path = "tiny/settings.rs"]
mod settings;

use assert_cmd::Command;
use settings::TINY;
use std::fs;
use std::path::{Path, PathBuf};

fn clsa(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("clsa").unwrap().current_dir(folder).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn pretrain(folder: &Path, run: &str) {
    let (code, stderr) = clsa(folder, &[&["pretrain", "--out", run], &TINY[..]].concat());
    assert_eq!(code, 0, "{stderr}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_run_is_pretrained_evaluated_and_reported_and_the_page_is_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pretrain(at, "runs/one");
    let (code, stderr) = clsa(at, &["report"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("note: one: This run has not been evaluated; `clsa eval --run runs/one` does it"),
        "{stderr}"
    );
    assert!(fs::read_to_string(at.join("runs/one/report.html")).unwrap().contains("class=\"missing\""));
    let reported_with = |name: &str, options: &[&str]| {
        let (code, stderr) = clsa(at, &[&["report", "runs/one", "--out", name][..], options].concat());
        assert_eq!(code, 0, "{stderr}");
        fs::read_to_string(at.join(name)).unwrap()
    };
    let reported = |name: &str, threads: &str| reported_with(name, &["--threads", threads]);
    // What an evaluation caches, the report reuses, and nothing else changes.
    let bare = reported("bare.html", "1");
    let (code, stderr) = clsa(at, &["eval", "--protocol", "knn,retrieval", "--out", "elsewhere.json"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(at.join("elsewhere.retrieval.png").is_file() && at.join("runs/one/features").is_dir());
    assert_eq!(reported("cached.html", "1"), bare);

    let (code, stderr) = clsa(at, &["eval", "--protocol", "knn,linear-features,retrieval"]);
    assert_eq!(code, 0, "{stderr}");
    let page = reported("1.html", "1");
    assert_eq!(page, reported("3.html", "3"));
    // Of other images, where not all are shown.
    let few = ["0", "1"].map(|seed| reported_with("few.html", &["--samples", "12", "--seed", seed]));
    assert!(few[0] != few[1]);
    for text in ["linear-features", "Share of the nearest neighbors", "data:image/jpeg;base64,", "t-SNE"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn several_runs_give_one_page_in_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    pretrain(folder.path(), "runs/one");
    pretrain(folder.path(), "runs/two");
    let (code, stderr) = clsa(folder.path(), &["report", "runs/one", "runs/two"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!folder.path().join("runs/one/report.html").exists());
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("Comparison of 2 CLSA runs"));
}

#[test]
fn wrong_requests_end_with_one_sentence_and_code_2_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |args: &[&str], what: &str| {
        let (code, stderr) = clsa(at, &[&["report"], args].concat());
        assert_eq!(code, 2, "{args:?}: {stderr}");
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(what), "{args:?}: {stderr}");
        let written = walk(at).into_iter().find(|path| path.extension().is_some_and(|e| e == "html"));
        assert_eq!(written, None, "{args:?}");
    };
    refused(&[], "no run in this folder; pretrain one");
    refused(&["nowhere"], "nowhere: there is no such folder");
    fs::create_dir(at.join("empty")).unwrap();
    refused(&["empty"], "empty: this folder is not a run, because it has no config.toml");
    pretrain(at, "good");
    pretrain(at, "damaged");
    let metrics = fs::read_to_string(at.join("damaged/metrics.jsonl")).unwrap();
    fs::write(at.join("damaged/metrics.jsonl"), metrics.replacen("\"step\":2,", "\"st", 1)).unwrap();
    refused(&["good", "damaged"], "is damaged");
    fs::write(at.join("good/eval.json"), "{").unwrap();
    refused(&["good"], "eval.json");
    fs::remove_file(at.join("good/eval.json")).unwrap();
    refused(&["good", "./good"], "named twice");
    refused(&["good", "--samples", "0"], "--samples");
    refused(&["good", "--data", "nonsense"], "nonsense");
    refused(&["good", "--out", "good"], "--out good");
    refused(&["good", "--out", "good/config.toml"], "--out good/config.toml: let the name end in .html");
    refused(&["good", "--out", "nowhere/page.html"], "--out nowhere/page.html");
}

#[test]
fn images_of_another_run_are_not_shown_as_those_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pretrain(at, "one");
    let page = |data: &str| {
        let (code, stderr) = clsa(at, &["report", "one", "--data", data]);
        assert_eq!(code, 0, "{stderr}");
        fs::read_to_string(at.join("one/report.html")).unwrap()
    };
    let other = page("procedural:classes=3,train=64,test=16,side=16");
    assert!(other.contains("has not the images that this run was trained on"), "{other}");
    assert!(!other.contains("t-SNE"));
    assert!(page("procedural:classes=4,train=64,test=16,side=16").contains("t-SNE"));
}

#[test]
fn images_that_training_left_out_are_left_out_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (split, count) in [("train", 40u8), ("val", 20)] {
        for class in ["a", "b"] {
            let images = at.join("images").join(split).join(class);
            fs::create_dir_all(&images).unwrap();
            for number in 0..count {
                let picture =
                    image::RgbImage::from_fn(20, 20, |x, y| image::Rgb([number * 3, (x * 9) as u8, (y * 7) as u8]));
                picture.save(images.join(format!("{number:02}.png"))).unwrap();
            }
            fs::write(images.join("bad.png"), "not an image").unwrap();
        }
    }
    let of = ["pretrain", "--out", "one", "--set", "data.max_bad_fraction=0.2"];
    let (code, stderr) = clsa(at, &[&of[..], &TINY[..], &["--data", "imagefolder:images"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let (code, stderr) = clsa(at, &["report", "one"]);
    assert!(code == 0 && stderr.contains("left out of the maps and neighbors: "), "{stderr}");
    let page = fs::read_to_string(at.join("one/report.html")).unwrap();
    assert!(page.contains("t-SNE") && !page.contains("could not be made"), "{page}");
    let (code, stderr) = clsa(at, &["eval", "--run", "one", "--protocol", "knn"]);
    assert!(code != 0 && stderr.contains("data verify` lists such images"), "{stderr}");
}
