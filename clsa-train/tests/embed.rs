//! `clsa embed` and `clsa search` as a user meets them.

#[path = "tiny/in_folder.rs"]
mod in_folder;

use assert_cmd::Command;
use clsa_data::{Source, Split};
use clsa_model::candle_core::Device;
use clsa_model::weights::{self, Format};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use in_folder::{clsa, refused};
use serde_json::Value;
use std::fs;
use std::path::Path;

const DATA: &str = "procedural:classes=4,train=300,test=40,side=16";

/// An encoder in a file, and the training images of [`DATA`] by class in a folder.
fn prepare(folder: &Path) {
    let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
    let encoder = Encoder::new(&model, Compute::default(), 7, &Device::Cpu).unwrap();
    let tensors = encoder.state_dict().unwrap().into_iter().collect();
    weights::write(&folder.join("encoder.safetensors"), &tensors, Format::Safetensors).unwrap();
    let images = DATA.parse::<Source>().unwrap().open(Split::Train).unwrap();
    for index in 0..images.len() {
        let class = folder.join("images").join(&images.class_names()[images.label(index).class().unwrap() as usize]);
        fs::create_dir_all(&class).unwrap();
        images.image(index).unwrap().save(class.join(format!("{index:03}.png"))).unwrap();
    }
}

fn embed(folder: &Path, args: &[&str]) -> (i32, String, String) {
    clsa(folder, &[&["embed", "--weights", "encoder.safetensors", "--resize", "16", "--crop", "16"], args].concat())
}

#[test]
fn features_are_written_in_every_form_and_made_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let data = ["--data", "imagefolder:images"];
    for out in ["e.npy", "e.csv", "e.safetensors", "e.parquet"] {
        // The names beside e.safetensors are those beside e.npy.
        let (code, stdout, stderr) = embed(at, &[&data[..], &["--force", "--out", out]].concat());
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stdout.trim_end(), format!("{out}: 300 features of 64 values, of imagefolder:images"));
        assert_eq!(stderr.contains("features: "), out == "e.npy", "{stderr}");
    }
    let names = fs::read_to_string(at.join("e.names.txt")).unwrap();
    let labels = fs::read_to_string(at.join("e.labels.txt")).unwrap();
    for (name, label) in names.lines().zip(labels.lines()) {
        assert!(name.contains(&format!("{label}/")), "{name} {label}");
    }
    assert_eq!((names.lines().count(), labels.lines().count()), (300, 300));

    // Nothing is there yet in a folder of one's own.
    let (code, _, stderr) = embed(at, &[&data[..], &["--force", "--out", "e.npy", "--cache", "kept"]].concat());
    assert!(code == 0 && stderr.contains("features: "), "{stderr}");
    assert!(fs::read_dir(at.join("kept/features")).unwrap().next().is_some());

    // Read as their users do, where there is a Python with pandas, pyarrow, safetensors and scikit-learn.
    if let Some(python) = std::env::var_os("CLSA_PYTHON") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_embeddings.py");
        Command::new(python).arg(script).arg(at).assert().success();
    }
}

#[test]
fn an_existing_file_is_kept_unless_told_and_wrong_requests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let of = ["embed", "--weights", "encoder.safetensors", "--data", "imagefolder:images", "--out"];
    let with = |more: &[&'static str]| [&of[..], more].concat();
    fs::write(at.join("e.npy"), "kept").unwrap();
    refused(at, &with(&["e.npy"]), "--force");
    refused(at, &with(&["e.h5"]), ".npy");
    refused(at, &with(&["none/e.npy"]), "none");
    refused(at, &with(&["new.npy/"]), "--out new.npy/: this is a folder; name a file in it");
    let long = "e".repeat(245) + ".npy";
    let (code, _, stderr) = embed(at, &["--data", "imagefolder:images", "--out", &long]);
    assert!(code == 2 && stderr.contains(".labels.txt: this name is too long; use a shorter one"), "{stderr}");
    refused(at, &with(&["new.npy", "--stage", "layer9"]), "--stage layer9");
    refused(at, &with(&["new.npy", "--crop", "300"]), "--crop 300");
    refused(at, &with(&["new.npy", "--split", "test"]), "images");
    refused(at, &["embed", "--weights", "encoder.safetensors", "--out", "new.npy"], "--data");
    refused(at, &["embed", "--run", "none", "--out", "new.npy"], "none");
    let (code, _, stderr) =
        embed(at, &["--data", "imagefolder:images", "--out", "e.npy", "--force", "--stage", "layer2"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fs::metadata(at.join("e.npy")).unwrap().len(), 128 + 300 * 16 * 4);
    // So are the text files beside it, and those of labels do not outlive them.
    fs::remove_file(at.join("e.npy")).unwrap();
    fs::write(at.join("e.labels.txt"), "of others").unwrap();
    let flat = ["--data", "flat:images", "--out", "e.npy"];
    let (code, _, stderr) = embed(at, &flat);
    assert!(code == 2 && stderr.contains("e.names.txt beside it exists already; --force"), "{stderr}");
    fs::remove_file(at.join("e.names.txt")).unwrap();
    let (code, _, stderr) = embed(at, &flat);
    assert!(code == 2 && stderr.contains("e.labels.txt beside it exists already; --force"), "{stderr}");
    let (code, _, stderr) = embed(at, &[&flat[..], &["--force"]].concat());
    assert!(code == 0 && at.join("e.names.txt").exists() && !at.join("e.labels.txt").exists(), "{stderr}");
    // An array of the other form has its names there.
    let names = fs::read(at.join("e.names.txt")).unwrap();
    let other = ["--data", "procedural:classes=2,train=6,test=4,side=32", "--out", "e.safetensors", "--force"];
    let (code, _, stderr) = embed(at, &other);
    assert!(code == 2 && stderr.contains("e.npy: its names and labels would become those of other images"), "{stderr}");
    assert!(fs::read(at.join("e.names.txt")).unwrap() == names && !at.join("e.safetensors").exists());
    // What the command itself reads is never written over.
    fs::write(at.join("table.csv"), "path\ntable.png\n").unwrap();
    image::RgbImage::new(32, 32).save(at.join("table.png")).unwrap();
    for (data, out) in [("imagefolder:images", "encoder.safetensors"), ("list:table.csv", "table.csv")] {
        let before = fs::read(at.join(out)).unwrap();
        let (code, _, stderr) = embed(at, &["--data", data, "--out", out, "--force"]);
        let words = format!("--out {out}: this file is read by the command; name another");
        assert!(code == 2 && stderr.contains(&words) && fs::read(at.join(out)).unwrap() == before, "{stderr}");
    }
    // What a killed command has left unfinished is removed by the next.
    fs::write(at.join(".clsa-writing-a1B2c3"), "half").unwrap();
    embed(at, &["--data", "imagefolder:images", "--out", "e.npy", "--force"]);
    assert!(!at.join(".clsa-writing-a1B2c3").exists());
}

#[test]
fn an_image_that_cannot_be_read_is_named_and_left_out_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    fs::write(at.join("images").join("bad.jpg"), b"\xff\xd8\xff no picture").unwrap();
    let of = ["--data", "flat:images", "--out", "e.npy"];
    let (code, _, stderr) = embed(at, &of);
    assert!(code == 2 && stderr.contains("bad.jpg") && !at.join("e.npy").exists(), "{stderr}");
    let (code, stdout, stderr) = embed(at, &[&of[..], &["--skip-bad"]].concat());
    assert!(code == 0 && stdout.starts_with("e.npy: 300 features"), "{stdout}{stderr}");
    assert!(stderr.contains("left out: ") && stderr.contains("bad.jpg"), "{stderr}");
    let names = fs::read_to_string(at.join("e.names.txt")).unwrap();
    assert!(names.lines().count() == 300 && !names.contains("bad.jpg"));
    assert!(!at.join("e.labels.txt").exists());
}

#[test]
fn an_image_is_its_own_nearest_and_what_is_found_is_told_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let class = fs::read_dir(at.join("images")).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> = fs::read_dir(&class).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    fs::copy(&files[3], at.join("one.png")).unwrap();
    fs::copy(&files[5], at.join("two.png")).unwrap();
    let of = ["--weights", "encoder.safetensors", "--data", "imagefolder:images", "--resize", "16", "--crop", "16"];
    let (code, stdout, stderr) =
        clsa(at, &[&["search"], &of[..], &["--neighbors", "4", "one.png", "two.png"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    for ((query, own), found) in [("one.png", &files[3]), ("two.png", &files[5])].into_iter().zip(lines.chunks(4)) {
        assert!(found.iter().all(|line| line["query"] == query), "{found:?}");
        assert!(found[0]["image"].as_str().unwrap().ends_with(own.file_name().unwrap().to_str().unwrap()), "{found:?}");
        assert!(found[0]["similarity"].as_f64().unwrap() > 0.9999);
        assert_eq!(found[0]["label"], class.file_name().unwrap().to_str().unwrap());
        assert!(found.is_sorted_by(|a, b| a["similarity"].as_f64() >= b["similarity"].as_f64()));
        assert_eq!(found.iter().map(|line| line["rank"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
    let picture = image::open(at.join("search.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (5 * 84 + 12, 2 * 84));

    let of_test = ["--weights", "encoder.safetensors", "--data", DATA, "--resize", "16", "--crop", "16"];
    let (code, stdout, stderr) = clsa(at, &[&["search", "--split", "test", "one.png"], &of_test[..]].concat());
    assert!(code == 0 && stdout.lines().count() == 10, "{stdout}{stderr}");
    assert!(stdout.lines().all(|line| line.contains("\"image\":\"procedural/test#")), "{stdout}");

    let search = |more: &[&'static str]| [&["search"], &of[..], more].concat();
    refused(at, &search(&["none.png"]), "none.png");
    refused(at, &search(&["images"]), "images: this is a folder");
    refused(at, &search(&["encoder.safetensors"]), "encoder.safetensors: cannot be decoded");
    refused(at, &search(&["one.png", "--out", "found.jpg"]), "found.jpg");
    refused(at, &search(&["one.png", "--neighbors", "30000"]), "--neighbors 30000");
    // Before anything is made of the collection: nothing is left.
    image::RgbImage::new(60_000, 1).save(at.join("elongated.png")).unwrap();
    refused(at, &search(&["elongated.png", "--cache", "new"]), "elongated.png: ");

    // What was found is told also where it cannot be drawn: this image is too long for the picture, and not for the encoder.
    image::RgbImage::new(300, 1).save(at.join("line.png")).unwrap();
    let (code, stdout, stderr) = clsa(at, &search(&["line.png", "--neighbors", "2"]));
    assert!(code != 0 && stdout.lines().count() == 2 && stderr.contains("line.png"), "{stdout}{stderr}");
}

#[test]
fn images_that_are_not_those_of_the_run_are_told_where_nobody_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let small = ["model.width=0.125", "method.bank=32", "knn.every=0", "eval={resize=16, crop=16}"];
    let views = "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}";
    let set = small.into_iter().chain([views]).flat_map(|set| ["--set", set]);
    let train = ["pretrain", "--data", "flat:images", "--epochs=1", "--batch-size=16", "--out", "run"];
    let (code, _, stderr) = clsa(at, &train.into_iter().chain(set).collect::<Vec<_>>());
    assert_eq!(code, 0, "{stderr}");
    let embed = |out: &str| {
        let (code, _, stderr) = clsa(at, &["embed", "--run", "run", "--out", out]);
        assert_eq!(code, 0, "{stderr}");
        stderr
    };
    assert!(!embed("own.npy").contains("not those that"));
    image::RgbImage::new(16, 16).save(at.join("images/one.png")).unwrap();
    let told = embed("more.npy");
    for words in ["note: the images of flat:images are not those that ", "(301 images in place of 300)"] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn a_picture_among_the_images_that_are_searched_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    image::RgbImage::new(16, 16).save(at.join("one.png")).unwrap();
    let of = ["search", "--weights", "encoder.safetensors", "--resize", "16", "--crop", "16", "one.png"];
    let source: Source = DATA.parse().unwrap();
    let in_class = format!("images/{}/found.png", source.open(Split::Train).unwrap().class_names()[0]);
    for (data, out) in [("flat:.", "search.png"), ("imagefolder:images", &in_class)] {
        let more = ["--data", data, "--out", out];
        refused(at, &[&of[..], &more].concat(), &format!("--out {out}: the picture would be among the images in "));
    }
    fs::write(at.join("table.csv"), "path\none.png\nimages/../two.png\n").unwrap();
    image::RgbImage::new(16, 16).save(at.join("two.png")).unwrap();
    let over = ["--data", "list:table.csv", "--out", "two.png"];
    refused(at, &[&of[..], &over].concat(), "--out two.png: this file is read by the command");
    // Beside the folders of classes it is none of the images.
    let beside = ["--data", "imagefolder:images", "--out", "images/found.png"];
    let (code, _, stderr) = clsa(at, &[&of[..], &beside].concat());
    assert!(code == 0 && at.join("images/found.png").is_file(), "{stderr}");
}
