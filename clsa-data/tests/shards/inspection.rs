//! Which splits a source has, what is in them, and which samples are bad.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_data::inspect::inspect;
use clsa_data::verify::verify;
use clsa_data::{Limits, Split};
use image::RgbImage;
use tempfile::TempDir;

use crate::{folder_source, png, source, splits, tar};

#[test]
fn a_test_split_that_is_broken_is_an_error_and_one_that_is_absent_is_not() {
    let root = TempDir::new().unwrap();
    let from = source(format!("wds:{}", root.path().display()));
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.cls", b"1".to_vec())]);
    assert!(splits(&from).test.err().unwrap().reason.contains("test split"));
    fs::write(root.path().join("val.tar"), "no archive").unwrap();
    let error = from.open_splits(Limits::default()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("val.tar"), "{error}");
}

#[test]
fn inspection_counts_splits_classes_and_sizes() {
    let (root, from) = folder_source();
    RgbImage::new(10, 90).save(root.path().join("train/dog/tall.png")).unwrap();
    let info = inspect(&splits(&from), 1000).unwrap();
    assert_eq!(info.splits.len(), 2);
    let train = &info.splits[0];
    assert_eq!((train.samples, train.headers_read, train.headers_bad), (31, 31, 0));
    let counts: Vec<(&str, usize)> = train.classes.iter().map(|class| (class.name.as_str(), class.samples)).collect();
    assert_eq!(counts, [("cat", 10), ("dog", 11), ("owl", 10)]);
    let sizes = train.sizes.as_ref().unwrap();
    assert_eq!((sizes.smallest, sizes.median, sizes.largest), ((10, 90), (40, 30), (40, 30)));
    assert_eq!(sizes.least_short_side, 10);
    let flat = inspect(&splits(&source(format!("flat:{}", root.path().display()))), 5).unwrap();
    assert_eq!((flat.splits.len(), flat.splits[0].headers_read), (1, 5));
    assert!(flat.no_test.unwrap().contains("no test split"));
}

#[test]
fn verification_lists_every_bad_file_with_its_reason() {
    let (root, from) = folder_source();
    let done = AtomicU64::new(0);
    let count = |now, of| {
        assert_eq!(of, 36);
        done.fetch_max(now, Ordering::Relaxed);
    };
    let report = verify(&splits(&from), 2, &count).unwrap();
    assert_eq!((report.samples, report.bad.len(), done.load(Ordering::Relaxed)), (36, 0, 36));
    fs::write(root.path().join("train/owl/002.png"), "").unwrap();
    fs::write(root.path().join("val/cat/000.png"), "garbage").unwrap();
    let report = verify(&splits(&from), 2, &|_, _| ()).unwrap();
    let found: Vec<(Split, bool)> = report.bad.iter().map(|bad| (bad.split, bad.reason.contains(&bad.name))).collect();
    assert_eq!(found, [(Split::Train, true), (Split::Test, true)]);
    assert!(report.bad[0].name.ends_with("train/owl/002.png") && report.bad[0].reason.contains("empty"));
}
