//! `cargo xtask data` as a user runs it.

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn data(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("clsa-train").unwrap();
    command.arg("data").args(args);
    command
}

fn stdout(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Training images of 40x30 of two classes, four each, and one test image; returns the source.
fn folder(root: &Path) -> String {
    for (folder, images) in [("train/cat", 4), ("train/dog", 4), ("val/dog", 1)] {
        fs::create_dir_all(root.join(folder)).unwrap();
        for at in 0..images {
            let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, at]));
            image.save(root.join(folder).join(format!("{at}.png"))).unwrap();
        }
    }
    format!("imagefolder:{}", root.display())
}

#[test]
fn info_shows_splits_classes_and_sizes() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    let text = stdout(&data(&["info", &source]).assert().success());
    for part in ["train   8 images, 2 classes", "test    1 images", "sizes 40x30 to 40x30", "cat", "dog"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dog: Vec<&str> = text.lines().find(|line| line.starts_with("dog")).unwrap().split_whitespace().collect();
    assert_eq!(dog, ["dog", "4", "1"]);
    let json = stdout(&data(&["info", &source, "--json"]).assert().success());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["splits"][0]["classes"][1]["samples"], 4);
    assert_eq!(json["splits"][1]["sizes"]["median"], serde_json::json!([40, 30]));
}

#[test]
fn info_says_why_there_is_no_test_split() {
    let root = TempDir::new().unwrap();
    folder(root.path());
    let text = stdout(&data(&["info", &format!("flat:{}", root.path().display())]).assert().success());
    assert!(text.contains("9 images, no labels") && text.contains("no test split"), "{text}");
}

#[test]
fn verify_ends_with_0_for_good_images_and_with_1_and_a_list_for_bad_ones() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    let assert = data(&["verify", &source]).assert().success();
    assert!(stderr(&assert).contains("all 9 images are good"), "{}", stderr(&assert));
    fs::write(root.path().join("train/cat/2.png"), "").unwrap();
    fs::write(root.path().join("val/dog/0.png"), "garbage").unwrap();
    let assert = data(&["verify", &source, "--threads", "2"]).assert().code(1);
    let lines: Vec<String> = stdout(&assert).lines().map(String::from).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("train: ") && lines[0].contains("cat/2.png") && lines[0].contains("empty"));
    assert!(lines[1].starts_with("test: ") && lines[1].contains("dog/0.png"));
    assert!(stderr(&assert).contains("error: 2 of 9 images are bad"), "{}", stderr(&assert));
    let json: Value = serde_json::from_str(&stdout(&data(&["verify", &source, "--json"]).assert().code(1))).unwrap();
    assert_eq!(json["bad"][0]["index"], 2);
}

#[test]
fn pack_writes_shards_that_are_a_source_of_smaller_images() {
    let root = TempDir::new().unwrap();
    let source = folder(root.path());
    fs::write(root.path().join("train/cat/2.png"), "garbage").unwrap();
    let out = root.path().join("shards");
    let out = out.display().to_string();
    let assert = data(&["pack", &source, &out, "--short-side", "15"]).assert().success();
    let warning = stderr(&assert);
    assert!(warning.contains("warning: left out") && warning.contains("cat/2.png"), "{warning}");
    let packed = stdout(&assert).trim().to_owned();
    assert_eq!(packed, format!("wds:{out}"));
    let json: Value = serde_json::from_str(&stdout(&data(&["info", &packed, "--json"]).assert().success())).unwrap();
    assert_eq!((&json["splits"][0]["samples"], &json["splits"][1]["samples"]), (&7.into(), &1.into()));
    assert_eq!(json["splits"][0]["sizes"]["largest"], serde_json::json!([20, 15]));
    assert_eq!(json["splits"][0]["classes"][0]["name"], "cat");
    let again = data(&["pack", &source, &out]).assert().code(2);
    assert!(stderr(&again).contains("is not empty"), "{}", stderr(&again));
}

#[test]
fn a_wrong_request_ends_with_2_and_one_sentence_that_names_it() {
    let root = TempDir::new().unwrap();
    let empty = format!("flat:{}", root.path().display());
    for (args, part) in [
        (vec!["info", "folder:/x"], "no known kind"),
        (vec!["info", "imagefolder:/no/such/folder"], "/no/such/folder"),
        (vec!["verify", "cifar-bin:/no/such/file.tar.gz"], "/no/such/file.tar.gz"),
        (vec!["verify", &empty], "has no image files"),
        (vec!["fetch", "imagenet"], "cifar10, fashion-mnist"),
        (vec!["pack", "procedural", "/tmp/out", "--quality", "0"], "--quality"),
        (vec![], "Usage"),
    ] {
        let message = stderr(&data(&args).assert().code(2));
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn every_help_shows_an_example() {
    for args in [
        vec!["--help"],
        vec!["info", "--help"],
        vec!["verify", "--help"],
        vec!["pack", "--help"],
        vec!["fetch", "--help"],
    ] {
        let text = stdout(&data(&args).assert().success());
        assert!(text.contains("Example") && text.contains("cargo xtask data"), "{args:?}: {text}");
    }
}

#[test]
#[cfg(not(feature = "parquet"))]
fn a_parquet_source_without_the_feature_says_how_to_get_it() {
    let message = stderr(&data(&["info", "parquet:/data"]).assert().code(2));
    assert!(message.contains("parquet:/data") && message.contains("--features parquet"), "{message}");
}

#[test]
#[cfg(feature = "parquet")]
fn a_parquet_source_that_is_absent_is_refused_by_name() {
    let message = stderr(&data(&["info", "parquet:/no/such/*.parquet"]).assert().code(2));
    assert!(message.contains("/no/such/*.parquet: names no file"), "{message}");
}

#[test]
#[cfg(not(feature = "fetch"))]
fn fetch_without_the_feature_says_how_to_get_it() {
    let message = stderr(&data(&["fetch", "cifar10"]).assert().code(2));
    assert!(message.contains("--features fetch"), "{message}");
}

#[test]
#[cfg(feature = "fetch")]
fn fetch_without_a_network_names_the_address_and_ends_with_1() {
    let root = TempDir::new().unwrap();
    let mut command = data(&["fetch", "cifar10", "--out", root.path().to_str().unwrap()]);
    // Nothing listens on the discard port.
    let message = stderr(&command.env("https_proxy", "http://127.0.0.1:9").assert().code(1));
    assert!(message.contains("cifar-10-binary.tar.gz cannot be fetched"), "{message}");
    assert!(!root.path().join("cifar-10-binary.tar.gz").exists());
}
