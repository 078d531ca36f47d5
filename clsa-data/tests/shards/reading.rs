//! What is read from shards, and what is refused.

use std::fs;

use clsa_data::{Fault, Label, Split};
use tempfile::TempDir;

use crate::{fault, png, refusal, source, tar, two_shards};

#[test]
fn shards_are_read_in_order_with_labels_from_cls_and_json() {
    let root = two_shards();
    let folder = root.path().display();
    for text in [
        format!("wds:{folder}"),
        format!("wds:{folder}/{{split}}-*.tar"),
        format!("wds:{folder}/train-{{000..001}}.tar"),
    ] {
        let train = source(&text).open(Split::Train).unwrap();
        let reds: Vec<u8> = (0..train.len()).map(|i| train.image(i).unwrap().get_pixel(0, 0).0[0]).collect();
        assert_eq!(reds, [1, 2, 3], "{text}");
        let labels: Vec<Label> = (0..3).map(|index| train.label(index)).collect();
        assert_eq!(labels, [Label::Class(2), Label::Class(0), Label::Class(1)]);
        assert_eq!(train.shards().unwrap(), [2, 1]);
        assert!(train.name(1).ends_with("train-000.tar/a/0002.JPG"), "{}", train.name(1));
        assert_eq!(train.dimensions(2).unwrap(), (2, 2));
    }
    assert_eq!(source(format!("wds:{folder}")).open(Split::Test).unwrap().len(), 1);
    assert_eq!(source(format!("wds:{folder}/{{split}}-000.tar")).open(Split::Test).unwrap().len(), 1);
    let error = source(format!("wds:{folder}/train-000.tar")).open(Split::Test).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("{split}"), "{error}");
}

#[test]
fn class_names_come_from_the_file_beside_the_shards() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.cls", b"owl".to_vec())]);
    fs::write(root.path().join("classes.txt"), "ant\nowl\n").unwrap();
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    assert_eq!(train.class_names(), ["ant", "owl"]);
    assert_eq!(train.label(0), Label::Class(1));
}

#[test]
fn a_tar_cut_in_the_middle_is_refused_by_name_wherever_it_is_cut() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("train-0.tar");
    let files: Vec<(String, Vec<u8>)> = (0..4).map(|i| (format!("{i}.png"), png(i))).collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    tar(&path, &files);
    let whole = fs::read(&path).unwrap();
    // Everything up to the second of the two blocks that end the archive.
    for end in (0..whole.len() - 1024).step_by(61) {
        fs::write(&path, &whole[..end]).unwrap();
        let error = refusal(&format!("wds:{}", root.path().display()));
        assert!(error.contains("train-0.tar"), "cut at {end}: {error}");
    }
}

#[test]
fn shards_that_are_wrong_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    let folder = root.path().display().to_string();
    assert!(refusal(&format!("wds:{folder}")).contains("has no .tar file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3}}.tar")).contains("x-0.tar"));
    assert!(refusal(&format!("wds:{folder}/x-*.tar")).contains("names no file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3.tar")).contains("without a `}`"));
    for (pattern, expected) in [
        ("", Fault::Layout),
        ("/x-{0..3}.tar", Fault::Missing),
        ("/x-*.tar", Fault::Missing),
        ("/x-{0..3.tar", Fault::Pattern),
    ] {
        assert_eq!(fault(&format!("wds:{folder}{pattern}")), expected, "{pattern}");
    }
    let path = root.path().join("train.tar");
    for (files, part) in [
        (vec![("1.cls", b"1".to_vec())], "no sample with an image"),
        (vec![("1.png", png(1)), ("1.cls", b"-3".to_vec())], "class -3"),
        (vec![("1.png", png(1)), ("1.cls", b"99999999999".to_vec())], "class 99999999999"),
        (vec![("1.png", png(1)), ("1.cls", b"owl".to_vec())], "neither a number nor a known class"),
        (vec![("1.png", png(1)), ("1.cls", vec![0xff, 0xfe])], "1.cls cannot be read"),
        (vec![("1.png", png(1)), ("1.json", b"{".to_vec())], "not JSON"),
        (vec![("1.png", png(1)), ("1.json", b"{\"labels\":[1,7]}".to_vec())], "not -1, 0 or 1"),
        (vec![("1.png", png(1)), ("1.cls", b"1".to_vec()), ("2.png", png(1))], "2.png has 0 labels"),
    ] {
        tar(&path, &files);
        let error = refusal(&format!("wds:{folder}"));
        assert!(error.contains(part) && error.contains("train.tar"), "{error}");
    }
    fs::write(&path, b"this is no tar archive at all".repeat(40)).unwrap();
    assert!(refusal(&format!("wds:{folder}")).contains("not a whole tar archive"));
    assert_eq!(fault(&format!("wds:{folder}")), Fault::Damaged);
}

#[test]
fn a_bad_image_in_a_shard_is_a_bad_sample_that_is_named() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("2.png", b"garbage".to_vec())]);
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    assert!(train.image(0).is_ok());
    assert!(train.image(1).unwrap_err().to_string().contains("train.tar/2.png"));
}
