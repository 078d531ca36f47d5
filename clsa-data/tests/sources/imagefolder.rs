//! `imagefolder` and `flat`: image files in folders.

use std::fs;

use clsa_data::{Fault, Label, SampleError, Split};
use tempfile::TempDir;

use crate::{classes, fault, open, reds, refusal, write_image};

fn image_folder() -> TempDir {
    let root = TempDir::new().unwrap();
    write_image(root.path().join("train/dog/b.png"), 3);
    write_image(root.path().join("train/dog/a.JPG"), 2);
    write_image(root.path().join("train/dog/deep/z.jpeg"), 4);
    write_image(root.path().join("train/Zebra/1.webp"), 0);
    write_image(root.path().join("train/cat/1.png"), 1);
    write_image(root.path().join("train/cat/.hidden.png"), 99);
    write_image(root.path().join("train/.git/1.png"), 99);
    fs::write(root.path().join("train/cat/notes.txt"), "no image").unwrap();
    write_image(root.path().join("val/dog/1.png"), 7);
    write_image(root.path().join("val/cat/1.png"), 6);
    root
}

#[test]
fn imagefolder_orders_classes_and_files_as_torchvision_does() {
    let root = image_folder();
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert_eq!(train.class_names(), ["Zebra", "cat", "dog"]);
    assert_eq!(reds(&*train), [0, 1, 2, 3, 4]);
    assert_eq!(classes(&*train), [0, 1, 2, 2, 2]);
    assert!(train.name(2).ends_with("train/dog/a.JPG"), "{}", train.name(2));
    assert_eq!(train.dimensions(0).unwrap(), (4, 3));
}

#[test]
fn imagefolder_test_classes_have_the_numbers_of_the_training_classes() {
    let root = image_folder();
    let test = open("imagefolder", root.path(), Split::Test).unwrap();
    assert_eq!(classes(&*test), [1, 2]);
    assert_eq!(reds(&*test), [6, 7]);
    write_image(root.path().join("val/yak/1.png"), 8);
    assert!(refusal("imagefolder", root.path(), Split::Test).contains("yak"));
    assert_eq!(fault("imagefolder", root.path(), Split::Test), Fault::Labels);
}

#[test]
fn imagefolder_takes_a_folder_of_classes_as_the_training_split_only() {
    let root = image_folder();
    let train = root.path().join("train");
    assert_eq!(open("imagefolder", &train, Split::Train).unwrap().len(), 5);
    let error = refusal("imagefolder", &train, Split::Test);
    assert!(error.contains("no test split") && error.contains(&*train.to_string_lossy()), "{error}");
}

#[cfg(unix)]
#[test]
fn imagefolder_follows_links_and_ignores_dangling_ones() {
    let root = image_folder();
    let other = TempDir::new().unwrap();
    write_image(other.path().join("1.png"), 5);
    std::os::unix::fs::symlink(other.path(), root.path().join("train/elk")).unwrap();
    std::os::unix::fs::symlink(other.path().join("1.png"), root.path().join("train/dog/link.png")).unwrap();
    std::os::unix::fs::symlink("/nowhere/x.png", root.path().join("train/dog/dangling.png")).unwrap();
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert_eq!(train.class_names(), ["Zebra", "cat", "dog", "elk"]);
    assert_eq!(train.len(), 7);
    let gone = root.path().join("train/dog/dangling.png");
    assert_eq!(train.notes(), [format!("a link that leads nowhere is passed over: {}", gone.display())]);
    // A class that is gone is not gone without a word.
    std::os::unix::fs::symlink("/nowhere", root.path().join("train/ape")).unwrap();
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    let class = root.path().join("train/ape");
    let note = format!("2 links that lead nowhere are passed over, such as {}", class.display());
    assert_eq!((train.len(), train.notes()), (7, vec![note]));
}

#[cfg(unix)]
#[test]
fn imagefolder_refuses_a_link_that_leads_back() {
    let root = image_folder();
    std::os::unix::fs::symlink(root.path().join("train"), root.path().join("train/dog/loop")).unwrap();
    assert!(refusal("imagefolder", root.path(), Split::Train).contains("leads back"));
}

#[test]
fn imagefolder_refuses_what_is_wrong_as_a_whole_and_names_it() {
    let root = TempDir::new().unwrap();
    assert!(refusal("imagefolder", &root.path().join("absent"), Split::Train).contains("absent"));
    assert_eq!(fault("imagefolder", &root.path().join("absent"), Split::Train), Fault::Missing);
    assert_eq!(fault("imagefolder", root.path(), Split::Train), Fault::Layout);
    assert!(refusal("imagefolder", root.path(), Split::Train).contains("no folders"));
    fs::create_dir_all(root.path().join("train/cat")).unwrap();
    assert!(refusal("imagefolder", root.path(), Split::Train).contains("train/cat: is a class with no image files"));
    assert_eq!(fault("imagefolder", root.path(), Split::Train), Fault::Empty);
    assert!(refusal("imagefolder", root.path(), Split::Test).contains("no test split"));
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(refusal("imagefolder", &file, Split::Train).contains("not a folder"));
}

#[test]
fn a_file_that_vanishes_after_the_listing_is_a_bad_sample_that_is_named() {
    let root = image_folder();
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    fs::remove_file(root.path().join("train/cat/1.png")).unwrap();
    let error = train.image(1).unwrap_err();
    assert!(matches!(error, SampleError::Read { .. }) && error.to_string().contains("train/cat/1.png"), "{error}");
    assert!(train.image(0).is_ok());
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_a_bad_sample_that_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let root = image_folder();
    let path = root.path().join("train/cat/1.png");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        // The superuser may read everything: then a folder in the file's place is what cannot be read.
        fs::remove_file(&path).unwrap();
        let train = {
            write_image(&path, 1);
            open("imagefolder", root.path(), Split::Train).unwrap()
        };
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(train.image(1).unwrap_err().to_string().contains("train/cat/1.png"));
        return;
    }
    let train = open("imagefolder", root.path(), Split::Train).unwrap();
    assert!(train.image(1).unwrap_err().to_string().contains("train/cat/1.png"));
}

#[test]
fn flat_finds_images_at_any_depth_and_has_no_labels() {
    let root = image_folder();
    let flat = open("flat", root.path(), Split::Train).unwrap();
    assert_eq!(flat.len(), 7);
    assert_eq!(flat.label(0), Label::None);
    assert!(flat.class_names().is_empty());
    assert!(refusal("flat", root.path(), Split::Test).contains("no test split"));
    let empty = TempDir::new().unwrap();
    assert!(refusal("flat", empty.path(), Split::Train).contains("no image files"));
}
