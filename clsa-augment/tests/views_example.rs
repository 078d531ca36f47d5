//! The example `views` as a user runs it. `cargo test` builds the examples, but `cargo test --test views_example` does not:
//! after a change of the example, run all tests of the crate.

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use clsa_augment::{Augmenter, SampleId, ViewPlan};
use tempfile::TempDir;

fn views() -> Command {
    Command::cargo_bin("examples/views").unwrap()
}

fn photo() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "china.png"].iter().collect()
}

#[test]
fn all_views_are_written_and_named() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("new/views");
    let assert = views().arg(photo()).arg(&out).arg("3").assert().code(0).stderr("");
    assert_eq!(assert.get_output().stdout.split(|&byte| byte == b'\n').count(), 11 + 1);
    let (plan, id) = (ViewPlan::multi(), SampleId { seed: 3, epoch: 0, sample: 0 });
    let image = image::open(photo()).unwrap().into_rgb8();
    let made = Augmenter::new().views(&image, &plan, id).unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 11);
    for (name, index) in
        [("00-key-224.png", 0), ("01-weak-224.png", 1), ("05-weak-96.png", 5), ("10-strong-96.png", 10)]
    {
        assert_eq!(image::open(out.join(name)).unwrap().into_rgb8(), made[index], "{name}");
    }
}

#[test]
fn wrong_requests_and_failures_name_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.png");
    fs::write(&text, "no image").unwrap();
    let (out, none) = (folder.path().join("out"), folder.path().join("none.png"));
    for (arguments, code, words) in [
        (vec![], 2, "usage: views"),
        (vec![photo(), out.clone(), "-1".into()], 2, "the seed -1 must be"),
        (vec![none, out.clone()], 2, "there is no file"),
        (vec![text.clone(), out.clone()], 1, "text.png: "),
        (vec![photo(), text.join("folder")], 1, "cannot make the folder"),
    ] {
        let assert = views().args(&arguments).assert().code(code).stdout("");
        let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(message.contains(words) && message.trim_end().lines().count() == 1, "{arguments:?}: {message}");
    }
    assert!(!out.exists());
    views().arg("--help").assert().code(0).stderr("");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_unicode_are_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"\xff");
    let folder = TempDir::new().unwrap();
    views().arg(name).arg(folder.path()).assert().code(2);
}
