//! `imagefolder`: which folders are splits, and in which order files are.

use std::path::Path;

use clsa_data::{DataError, Fault, Split};
use tempfile::TempDir;

use crate::{fault, open, reds, refusal, write_image};

/// A folder with an image at each of these paths, whose red is its number.
fn images(paths: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (number, path) in paths.iter().enumerate() {
        write_image(root.path().join(path), number as u8);
    }
    root
}

/// Why there is no test split.
fn no_test(root: &Path) -> String {
    match open("imagefolder", root, Split::Test) {
        Err(DataError::NoSplit(none)) => none.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("there is one"),
    }
}

#[test]
fn folders_whose_names_state_a_split_by_a_word_are_that_split() {
    for (train, test) in [
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("training", "valid"),
        ("my_train", "my_val"),
        ("train2017", "val2017"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("train", "dev"),
    ] {
        let root = images(&[&format!("{train}/a/0.png"), &format!("{train}/b/0.png"), &format!("{test}/b/0.png")]);
        let dataset = open("imagefolder", root.path(), Split::Train).unwrap();
        assert_eq!((reds(&*dataset), dataset.class_names()), (vec![0, 1], &["a".to_string(), "b".to_string()][..]));
        assert_eq!(reds(&*open("imagefolder", root.path(), Split::Test).unwrap()), [2], "{test}");
    }
}

#[test]
fn val_is_the_test_split_before_test_and_the_exact_name_before_others() {
    let root = images(&["train/a/0.png", "test/a/0.png", "Val/a/0.png", "train_blurred/a/0.png", "train_val/a/0.png"]);
    assert_eq!(reds(&*open("imagefolder", root.path(), Split::Train).unwrap()), [0]);
    assert_eq!(reds(&*open("imagefolder", root.path(), Split::Test).unwrap()), [2]);
}

#[test]
fn classes_that_are_called_as_splits_are_classes() {
    let root = images(&["car/0.png", "ship/0.png", "train/0.png", "train_station/0.png"]);
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert_eq!(train.class_names(), ["car", "ship", "train", "train_station"]);
    assert_eq!(reds(&*train), [0, 1, 2, 3]);
    let root = images(&["train/car/0.png", "train/test/0.png", "train/train/0.png", "val/test/0.png"]);
    assert_eq!(open("imagefolder", root.path(), Split::Train).unwrap().class_names(), ["car", "test", "train"]);
    assert_eq!(reds(&*open("imagefolder", root.path(), Split::Test).unwrap()), [3]);
}

#[test]
fn folders_that_may_be_splits_or_classes_are_refused_with_what_to_do() {
    for (paths, words) in [
        (&["car/0.png", "test/0.png"][..], "has a folder `test` but no folder `train`; if `test` is a class"),
        (&["Train/0.png", "Val/0.png"], "Train: has images directly in it, not in folders by class"),
        (&["car/0.png", "test/0.png", "train/0.png"], "train: has images directly in it"),
        (&["train_val/a/0.png", "test/a/0.png"], "train_val: has a name of more than one split"),
        (&["trainval/a/0.png", "test/a/0.png"], "trainval: has a name of more than one split"),
        (&["Train/a/0.png", "my_train/a/0.png"], "has the folders `Train` and `my_train` for one split"),
        (&["train/steam/0.png", "car/0.png"], "car: is a folder of images beside `train`"),
        (&["Val/a/0.png", "a/0.png"], "has a folder `Val` but no folder `train`"),
    ] {
        let root = images(paths);
        let error = refusal("imagefolder", root.path(), Split::Train);
        assert!(error.contains(words), "{paths:?}: {error}");
        assert_eq!(fault("imagefolder", root.path(), Split::Train), Fault::Layout);
    }
}

#[test]
fn test_images_that_are_not_in_folders_by_class_are_no_test_split_and_no_obstacle() {
    for path in ["val/0.JPEG", "test/0.png", "Val/0.png", "my_val/0.png"] {
        let root = images(&["train/a/0.png", "train/b/0.png", path]);
        assert_eq!(open("imagefolder", root.path(), Split::Train).unwrap().len(), 2, "{path}");
        assert!(no_test(root.path()).contains("has images directly in it, not in folders by class"), "{path}");
    }
    // Tiny ImageNet.
    let root = images(&["train/a/images/0.png", "val/images/0.png"]);
    assert!(no_test(root.path()).contains("has none of the classes"));
    // What can be used comes first.
    let root = images(&["train/a/0.png", "val/0.png", "test/a/0.png"]);
    assert_eq!(reds(&*open("imagefolder", root.path(), Split::Test).unwrap()), [2]);
}

#[test]
fn files_are_in_the_order_of_torchvision_which_sorts_folders_without_their_separator() {
    let order = ["s", "s t", "s(1)", "s,2", "s-t", "s.v", "s/u", "s0", "é", "\u{e000}", "🦀"];
    let paths: Vec<String> =
        order.iter().flat_map(|folder| ["a", "z"].map(|name| format!("train/class/{folder}/{name}.png"))).collect();
    // Written in another order than they are expected in.
    let root = TempDir::new().unwrap();
    for (number, path) in paths.iter().enumerate().rev() {
        write_image(root.path().join(path), number as u8);
    }
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert_eq!(reds(&*train), (0..paths.len() as u8).collect::<Vec<_>>());
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_read_and_shown_escaped() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let root = images(&["train/a/a.png", "train/b/0.png"]);
    let name = |bytes: &'static [u8]| root.path().join("train").join(OsStr::from_bytes(bytes));
    std::fs::write(name(b"a/caf\xe9.txt"), "no image").unwrap();
    write_image(name(b"a/caf\xe9.png"), 7);
    write_image(name(b"c\xff\x1b[31m/0.png"), 8);
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert_eq!(reds(&*train), [0, 7, 1, 8]);
    assert!(train.name(1).ends_with("train/a/caf\\xe9.png"), "{}", train.name(1));
    assert!(train.name(3).ends_with("train/c\\xff\\x1b[31m/0.png"), "{}", train.name(3));
    std::fs::remove_file(name(b"c\xff\x1b[31m/0.png")).unwrap();
    let error = refusal("imagefolder", root.path(), Split::Train);
    assert!(error.ends_with("train/c\\xff\\x1b[31m: is a class with no image files in it"), "{error}");
}
