//! `clsa study`: variants that are trained, kept, gone on with and compared.

#[path = "tiny/settings.rs"]
mod settings;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use clsa_run::{LockedRun, RunFolder};
use settings::{TINY, settings};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const DATA: &str = "procedural:classes=4,train=64,test=16,side=16";

/// A study of runs of a second: one variant as it is, one that is compared with it and changes after its first epoch.
fn write_study(folder: &Path, alpha: &str) {
    let set: String = settings().map(|change| format!("    {change:?},\n")).collect();
    let study = format!(
        "question = \"Does it matter?\"\npreset = \"cifar10\"\nset = [\n{set}    \"train.epochs=2\", \
         \"train.batch_size=16\"]\n\
         [[variant]]\nname = \"naive\"\nset = [\"method.strong_loss=info_nce\"]\n\
         [[variant]]\nname = \"later\"\nset = [\"method.alpha={alpha}\"]\nagainst = [\"naive\"]\n\
         then = {{ after_epoch = 1, set = [\"method.alpha=1.0\"] }}\n"
    );
    fs::write(folder.join("study.toml"), study).unwrap();
}

fn clsa(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("clsa").unwrap();
    command.current_dir(folder);
    command
}

fn study(folder: &Path, more: &[&str]) -> Assert {
    clsa(folder).args(["study", "study.toml", "--data", DATA, "--threads", "1"]).args(more).assert()
}

/// What a command that did it has printed.
fn printed(assert: Assert) -> String {
    String::from_utf8(assert.success().get_output().stdout.clone()).unwrap()
}

/// What a command that was a wrong request has said.
fn refused(assert: Assert) -> String {
    String::from_utf8_lossy(&assert.code(2).get_output().stderr).into_owned()
}

/// What a command that failed has printed, and what it has said.
fn failed(assert: Assert) -> [String; 2] {
    let assert = assert.code(1);
    let output = assert.get_output();
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Trains `later` with the seed 0 up to its change.
fn begin_later(folder: &Path) {
    clsa(folder)
        .args(["pretrain", "--preset", "cifar10", "--data", DATA, "--threads", "1"])
        .args(TINY)
        .args(["--set", "method.alpha=0.0", "--until-epoch", "1", "--out", "runs/study/later-0"])
        .assert()
        .success();
}

/// The runs that there are.
fn runs(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.join("runs/study"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains(".md") && !name.contains(".sha256"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_variant_is_trained_with_every_seed_once_and_compared_seed_by_seed() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    let table = printed(study(folder.path(), &["--seeds", "1"]));
    assert!(table.contains("| naive | `method.strong_loss=info_nce` | "), "{table}");
    assert_eq!(runs(folder.path()), ["later-0", "naive-0"]);
    let metrics = |name: &str| fs::read(folder.path().join("runs/study").join(name).join("metrics.jsonl")).unwrap();
    let before = metrics("naive-0");
    let config = fs::read_to_string(folder.path().join("runs/study/later-0/config.toml")).unwrap();
    assert!(config.contains("alpha = 1.0"), "it has changed on the way:\n{config}");

    let table = printed(study(folder.path(), &["--seeds", "3"]));
    let row = table.lines().find(|line| line.starts_with("| later")).unwrap();
    assert!(row.starts_with("| later | `method.alpha=0.0`; after epoch 1: `method.alpha=1.0` | "), "{row}");
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let last = |name: String| -> f64 {
        let text = String::from_utf8(metrics(&name)).unwrap();
        let line = text.lines().rfind(|line| line.contains("\"kind\":\"knn\"")).unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["top1"].as_f64().unwrap()
    };
    let of = |variant: &str| [0, 1, 2].map(|seed| last(format!("{variant}-{seed}")));
    let (later, naive) = (of("later"), of("naive"));
    assert_eq!(cells[3], later.map(|top1| format!("{top1:.1}")).join(", "));
    let mean = (0..3).map(|seed| later[seed] - naive[seed]).sum::<f64>() / 3.0;
    // As the page rounds, a tie away from zero; and not minus zero.
    let mean = (mean * 10.0).round() / 10.0 + 0.0;
    assert!(cells[5].replace("**", "").starts_with(&format!("naive: {mean:+.1}")), "{row}: {mean}");
    assert!(cells[4].contains(" ± ") && cells[5].contains(" ± "), "{row}");
    assert_eq!(runs(folder.path()), ["later-0", "later-1", "later-2", "naive-0", "naive-1", "naive-2"]);
    assert_eq!(metrics("naive-0"), before, "what is trained is kept");
    let page = fs::read_to_string(folder.path().join("runs/study/study.md")).unwrap();
    let (settings, rows) = table.split_once("\n\n").unwrap();
    assert_eq!(settings, "k-NN accuracy (k = 5, T = 0.07, backbone features), percent:");
    assert!(page.starts_with("# Does it matter?\n") && page.contains(rows.trim_end()), "{page}");
    assert!(page.contains("k-NN accuracies (k = 5, T = 0.07, backbone features) after training"), "{page}");
    // All is there: nothing is trained, and the same is said, on a page of any name.
    let usual = folder.path().join("runs/study/study.md");
    fs::remove_file(&usual).unwrap();
    let again = ["--seeds", "3", "--seconds", "0", "--table", "page.md"];
    assert_eq!(printed(study(folder.path(), &again)), table);
    assert_eq!(fs::read_to_string(folder.path().join("page.md")).unwrap(), page);
    assert!(!usual.exists());
}

#[test]
fn images_that_give_no_figure_are_refused_before_anything_is_trained() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    image::RgbImage::new(16, 16).save(folder.path().join("a.png")).unwrap();
    let text = refused(study(folder.path(), &["--data", "flat:."]));
    assert!(text.contains("--data flat:.: a study's figures need images with labels and a test split"), "{text}");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_device_or_a_number_of_threads_that_is_none_is_refused_before_anything_is_made() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    for (more, expected) in
        [(["--device", "tpu"], "use cpu, cuda or cuda:N"), (["--threads", "two"], "use a number up to 1024")]
    {
        let said = refused(study(folder.path(), &more));
        assert!(said.contains(expected), "{said}");
    }
    if cfg!(not(feature = "cuda")) {
        let said = refused(study(folder.path(), &["--device", "cuda:7"]));
        assert!(said.contains("built without CUDA"), "{said}");
    }
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_training_that_was_killed_in_its_last_evaluation_makes_it() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    let table = printed(study(folder.path(), &["--seeds", "1"]));
    let metrics = folder.path().join("runs/study/naive-0/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let last = text.lines().rfind(|line| line.contains("\"knn\"")).unwrap();
    fs::write(&metrics, text.replace(&format!("{last}\n"), "")).unwrap();
    assert_eq!(printed(study(folder.path(), &["--seeds", "1"])), table);
}

#[test]
fn a_training_that_was_stopped_between_its_changes_goes_on() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    study(folder.path(), &["--seeds", "1"]).success();
    let whole = fs::read_to_string(folder.path().join("runs/study/later-0/metrics.jsonl")).unwrap();
    let other = TempDir::new().unwrap();
    write_study(other.path(), "0.0");
    fs::create_dir_all(other.path().join("runs/study")).unwrap();
    let begun_as = "runs/study/later-0.sha256";
    fs::copy(folder.path().join(begun_as), other.path().join(begun_as)).unwrap();
    begin_later(other.path());
    study(other.path(), &["--seeds", "1"]).success();
    let went_on = fs::read_to_string(other.path().join("runs/study/later-0/metrics.jsonl")).unwrap();
    let losses = |text: &str| -> Vec<String> {
        let loss = |line: &str| line.split("\"loss\":").nth(1)?.split(',').next().map(str::to_owned);
        text.lines().filter_map(loss).collect()
    };
    assert_eq!(losses(&went_on), losses(&whole));
    assert!(losses(&whole).len() > 4);
}

#[test]
fn a_training_that_went_past_its_change_without_it_is_refused() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    study(folder.path(), &["--seeds", "1"]).success();
    fs::remove_dir_all(folder.path().join("runs/study/later-0")).unwrap();
    begin_later(folder.path());
    let on = ["pretrain", "--resume", "runs/study/later-0", "--until-epoch", "0", "--threads", "1"];
    clsa(folder.path()).args(on).assert().success();
    let said = refused(study(folder.path(), &["--seeds", "1"]));
    assert!(said.contains("the run in runs/study/later-0 is not one of this study's variant later"), "{said}");
}

#[test]
fn a_training_that_diverges_is_told_and_the_others_are_trained() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    let file = folder.path().join("study.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("method.strong_loss=info_nce", "optim.lr=1e30")).unwrap();
    // The second time the run is there, without a checkpoint.
    for is_there in [false, true] {
        let [table, said] = failed(study(folder.path(), &["--seeds", "1"]));
        assert!(said.contains("warning: naive, seed 0: ") && !said.contains("--set optim.lr"), "{said}");
        assert!(said.contains("error: 1 of 2 trainings have no figure"), "{said}");
        assert_eq!(said.contains("ended, or diverged, before its first checkpoint"), is_there, "{said}");
        let row = table.lines().find(|line| line.starts_with("| later")).unwrap();
        assert!(row.split('|').nth(3).unwrap().trim().parse::<f64>().is_ok(), "{row}");
    }
}

#[test]
fn a_run_that_another_process_trains_is_not_called_ended() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    study(folder.path(), &["--seeds", "1"]).success();
    let path = folder.path().join("runs/study/naive-0");
    let config = RunFolder::at(&path).config().unwrap();
    fs::remove_dir_all(&path).unwrap();
    let held = LockedRun::begin(&path).unwrap();
    held.write_config(&config).unwrap();
    let said = refused(study(folder.path(), &["--seeds", "1"]));
    let holder = format!("runs/study/naive-0: this run is in use by process {}", std::process::id());
    assert!(said.contains(&holder) && !said.contains("remove it"), "{said}");
}

#[test]
fn a_variant_that_begins_with_weights_is_kept_as_long_as_they_are_the_same() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    study(folder.path(), &["--seeds", "1", "--runs", "others"]).success();
    let weights = |run: &str| folder.path().join("others").join(run).join("export/model.safetensors");
    fs::copy(weights("naive-0"), folder.path().join("begin.safetensors")).unwrap();
    let begin = ["--seeds", "1", "--set", "init.weights=begin.safetensors"];
    let table = printed(study(folder.path(), &begin));
    assert_eq!(printed(study(folder.path(), &[&begin[..], &["--seconds", "0"]].concat())), table);
    fs::rename(folder.path().join("begin.safetensors"), folder.path().join("moved.safetensors")).unwrap();
    let moved = ["--seeds", "1", "--set", "init.weights=moved.safetensors", "--seconds", "0"];
    assert_eq!(printed(study(folder.path(), &moved)), table);
    fs::copy(weights("later-0"), folder.path().join("begin.safetensors")).unwrap();
    let said = refused(study(folder.path(), &begin));
    assert!(said.contains("is not one of this study's variant naive, as it is now"), "{said}");
}

#[test]
fn machines_that_train_a_seed_each_have_the_table_of_one_that_trains_all() {
    let folder = TempDir::new().unwrap();
    write_study(folder.path(), "0.0");
    let table = printed(study(folder.path(), &["--seeds", "2"]));
    let mut all = String::new();
    let other = TempDir::new().unwrap();
    write_study(other.path(), "0.0");
    for (seed, file) in [("0", "first.jsonl"), ("1", "second.jsonl")] {
        let options =
            ["--seeds", "1", "--first-seed", seed, "--figures", file, "--runs", file.split('.').next().unwrap()];
        study(other.path(), &options).success();
        all += &fs::read_to_string(other.path().join(file)).unwrap();
    }
    assert_eq!(all.lines().count(), 4);
    let file = other.path().join("all.jsonl");
    // A line twice is the same as once.
    fs::write(&file, all.clone() + all.lines().next().unwrap()).unwrap();
    let options = ["--figures", "all.jsonl", "--runs", "none", "--seconds", "0"];
    assert_eq!(printed(study(other.path(), &[&options[..], &["--seeds", "2"]].concat())), table);

    let refusal = |study: Assert| refused(study).replace("error: --figures all.jsonl: ", "");
    let images = "procedural:classes=4,train=80,test=16,side=16";
    let said = refusal(study(other.path(), &[&options[..], &["--data", images]].concat()));
    assert!(said.starts_with("naive with the seed 0 was trained on other images; name another file"), "{said}");
    write_study(other.path(), "0.5");
    let said = refusal(study(other.path(), &options));
    assert!(
        said.starts_with("later with the seed 0 was trained with another configuration than this study's"),
        "{said}"
    );
    for (lines, expected) in [
        ("{}", "line 5: missing field `variant`"),
        (
            &all.lines().next().unwrap().replace("\"top1\":", "\"top1\":1"),
            "line 5: naive with the seed 0 has another line",
        ),
    ] {
        fs::write(&file, format!("{all}{lines}\n")).unwrap();
        let said = refusal(study(other.path(), &options));
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_and_nothing_is_touched() {
    let folder = TempDir::new().unwrap();
    assert!(refused(study(folder.path(), &[])).contains("study.toml: No such file"));
    write_study(folder.path(), "0.0");
    let written = fs::read_to_string(folder.path().join("study.toml")).unwrap();
    assert!(
        refused(study(folder.path(), &["--table", "study.toml"]))
            .contains("--table study.toml: let the name end in .md")
    );
    assert!(
        refused(study(folder.path(), &["--runs", "study.toml/r"]))
            .contains("study.toml is a file; name another folder")
    );
    assert_eq!(fs::read_to_string(folder.path().join("study.toml")).unwrap(), written);
    let begun = study(folder.path(), &["--seeds", "1", "--seconds", "0"]).success();
    let said = String::from_utf8_lossy(&begun.get_output().stderr).into_owned();
    assert!(said.contains("the same command goes on with what is not trained yet"), "{said}");
    study(folder.path(), &["--seeds", "1"]).success();

    let more = ["--seeds", "2", "--data", "procedural:classes=4,train=80,test=16,side=16"];
    let said = refused(study(folder.path(), &more));
    let expected = "--data: it is not what the run in runs/study/naive-0 was trained on (80 images in place of 64)";
    assert!(said.contains(expected), "{said}");
    let config = folder.path().join("runs/study/naive-0/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("seed = 0", "seed = 1")).unwrap();
    let said = refused(study(folder.path(), &["--seeds", "2"]));
    assert!(said.contains("the run in runs/study/naive-0 has the seed 1 and would count as one of 0"), "{said}");
    fs::write(&config, text).unwrap();
    fs::remove_dir_all(folder.path().join("runs/study/naive-0/checkpoints")).unwrap();
    let [_, said] = failed(study(folder.path(), &["--seeds", "2", "--seconds", "0"]));
    let expected = "warning: naive, seed 0: --runs: the run in runs/study/naive-0 was ended, or diverged, before its first checkpoint; remove it";
    assert!(said.contains(expected), "{said}");
    write_study(folder.path(), "0.5");
    let said = refused(study(folder.path(), &["--seeds", "2"]));
    assert!(said.contains("the run in runs/study/later-0 is not one of this study's variant later"), "{said}");
    assert_eq!(runs(folder.path()), ["later-0", "naive-0"]);
    fs::remove_file(folder.path().join("runs/study/naive-0.sha256")).unwrap();
    let said = refused(study(folder.path(), &["--seeds", "2"]));
    assert!(
        said.contains("runs/study/naive-0.sha256 is missing, which says what the run beside it was begun as"),
        "{said}"
    );
}
