//! Which shards are of which split.

use std::fs;
use std::path::Path;

use clsa_data::{DataError, Fault, Split};
use tempfile::TempDir;

use crate::{png, source, tar};

/// A folder with a shard of one image at each of these paths.
fn shards(paths: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (number, path) in paths.iter().enumerate() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        tar(&path, &[("1.png", png(number as u8)), ("1.cls", b"1".to_vec())]);
    }
    root
}

/// The numbers of the images of a split of the source `wds:ROOT/PATTERN`, or why there are none.
fn read(root: &Path, pattern: &str, split: Split) -> Result<Vec<u8>, DataError> {
    let dataset = source(format!("wds:{}{pattern}", root.display())).open(split)?;
    Ok((0..dataset.len()).map(|index| dataset.image(index).unwrap().get_pixel(0, 0).0[0]).collect())
}

#[test]
fn a_word_in_the_name_of_a_shard_states_its_split_in_folders_and_patterns() {
    for (train, test) in [
        ("imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"),
        ("TRAIN_0.tar", "VAL_0.tar"),
        ("0.training.tar", "0.valid.tar"),
        ("x-train.tar", "x-test.tar"),
        ("train/0.tar", "val/0.tar"),
        ("data/train-0.tar", "data/dev-0.tar"),
        ("default/train/0000.tar", "default/validation/0000.tar"),
    ] {
        let root = shards(&[train, test]);
        let above = if train.contains('/') {
            format!("/{}", Path::new(train).parent().unwrap().display())
        } else {
            String::new()
        };
        let mut patterns = vec![String::new()];
        if !above.contains("train") {
            patterns.extend([format!("{above}/*.tar"), format!("/{{{train},{test}}}")]);
        }
        for pattern in patterns {
            assert_eq!(read(root.path(), &pattern, Split::Train).unwrap(), [0], "{train} by `{pattern}`");
            assert_eq!(read(root.path(), &pattern, Split::Test).unwrap(), [1], "{test} by `{pattern}`");
        }
    }
}

#[test]
fn shards_without_a_word_are_for_training_and_so_are_those_a_pattern_names_of_one_split() {
    let root = shards(&["contest-0.tar", "contest-1.tar"]);
    for pattern in ["", "/*.tar", "/contest-{0..1}.tar"] {
        assert_eq!(read(root.path(), pattern, Split::Train).unwrap(), [0, 1], "{pattern}");
        assert!(matches!(read(root.path(), pattern, Split::Test), Err(DataError::NoSplit(_))), "{pattern}");
    }
    let root = shards(&["val-0.tar", "val-1.tar"]);
    assert_eq!(read(root.path(), "/val-*.tar", Split::Train).unwrap(), [0, 1]);
    let error = read(root.path(), "", Split::Train).unwrap_err().to_string();
    assert!(error.contains("has only files of the test split, such as ") && error.contains("val-0.tar"), "{error}");
}

#[test]
fn shards_whose_split_is_not_clear_are_refused_by_name() {
    for (paths, pattern, words) in [
        (&["train_val-0.tar", "test-0.tar"][..], "", "train_val-0.tar: has a name of more than one split"),
        (&["trainval-0.tar", "val-0.tar"], "/*.tar", "trainval-0.tar: has a name of more than one split"),
        (&["train-0.tar", "extra-0.tar"], "", "extra-0.tar: is of no split by its name, but "),
        (&["0.tar", "val-0.tar"], "/*.tar", "0.tar: is of no split by its name, but "),
        (&["train_val-0.tar"], "/{split}*.tar", "more than one split"),
        (&["train-of-x-0.tar", "train-b/val-0.tar"], "/{split}*{/,-of-x-}*.tar", "more than one split"),
        (&["a/train-0.tar", "b/train-0.tar"], "", "has .tar files in several folders, such as "),
    ] {
        let root = shards(paths);
        let error = read(root.path(), pattern, Split::Train).unwrap_err();
        assert!(error.to_string().contains(words), "{paths:?}: {error}");
        assert!(matches!(error, DataError::Refused { fault: Fault::Layout, .. }), "{error}");
    }
}

#[test]
fn braces_name_a_split_only_where_one_of_its_shards_is_there() {
    let pattern = "/{split}-{0..1}.tar";
    let root = shards(&["test-0.tar", "test-1.tar"]);
    let error = read(root.path(), pattern, Split::Train).unwrap_err();
    assert!(matches!(error, DataError::Refused { fault: Fault::Layout, .. }), "{error}");
    assert!(error.to_string().contains("has no train split"), "{error}");
    assert_eq!(read(root.path(), pattern, Split::Test).unwrap(), [0, 1]);
    let root = shards(&["train-0.tar", "train-1.tar"]);
    assert_eq!(read(root.path(), pattern, Split::Train).unwrap(), [0, 1]);
    assert!(matches!(read(root.path(), pattern, Split::Test), Err(DataError::NoSplit(_))));
    let root = shards(&["train-1.tar"]);
    let error = read(root.path(), pattern, Split::Train).unwrap_err().to_string();
    assert!(error.contains("train-0.tar: is not a file that can be read"), "{error}");
}

#[test]
fn brackets_in_a_pattern_are_those_of_a_name() {
    let root = shards(&["set [24]/train-0.tar", "set [24]/val-0.tar", "set 2/train-0.tar", "set ]/train-0.tar"]);
    for pattern in ["/set [24]/{split}-*.tar", "/set [24]/*.tar", "/set [24]/?????-0.ta?"] {
        assert_eq!(read(root.path(), pattern, Split::Train).unwrap(), [0], "{pattern}");
    }
    assert_eq!(read(root.path(), "/set [24]/{split}-*.tar", Split::Test).unwrap(), [1]);
    assert_eq!(read(root.path(), "/set ]/*.tar", Split::Train).unwrap(), [3]);
}

#[test]
fn a_file_whose_name_begins_with_a_dot_is_named_by_a_dot_alone() {
    let root = shards(&["train-0.tar", "._train-0.tar", ".old/train-0.tar"]);
    for pattern in ["", "/*.tar", "/*{split}-*.tar", "/**/*.tar"] {
        assert_eq!(read(root.path(), pattern, Split::Train).unwrap(), [0], "{pattern}");
    }
    assert_eq!(read(root.path(), "/._*.tar", Split::Train).unwrap(), [1]);
    for pattern in ["/.old/*.tar", "/.o*/*.tar"] {
        assert_eq!(read(root.path(), pattern, Split::Train).unwrap(), [2], "{pattern}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_beside_the_shards_does_no_harm() {
    use std::os::unix::ffi::OsStrExt;
    let root = shards(&["train-0.tar"]);
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"train-\xe9.tar")), "").unwrap();
    assert_eq!(read(root.path(), "/*.tar", Split::Train).unwrap(), [0]);
}
