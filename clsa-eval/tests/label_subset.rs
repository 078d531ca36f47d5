//! Which images keep their labels.

use clsa_data::{Dataset, Source, Split};
use clsa_eval::protocols::LabelSubset;
use image::RgbImage;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Classes `a`, `b` and `c` with 200, 100 and 3 training images.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (class, count) in [("a", 200), ("b", 100), ("c", 3)] {
        for (split, count) in [("train", count), ("test", 1)] {
            let folder = root.path().join(split).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            (0..count).for_each(|i| RgbImage::new(1, 1).save(folder.join(format!("{class}{i}.png"))).unwrap());
        }
    }
    root
}

fn open(root: &Path, split: Split) -> Arc<dyn Dataset> {
    format!("imagefolder:{}", root.display()).parse::<Source>().unwrap().open(split).unwrap()
}

fn names(subset: &LabelSubset, root: &Path, seed: u64) -> Vec<String> {
    let (train, test) = (open(root, Split::Train), open(root, Split::Test));
    let subset = subset.of(&train, test.as_ref(), seed).unwrap();
    let file = |name: String| name.rsplit('/').next().unwrap().to_owned();
    (0..subset.len()).map(|index| file(subset.name(index))).collect()
}

fn counts(names: &[String]) -> HashMap<char, usize> {
    let mut counts = HashMap::new();
    names.iter().for_each(|name| *counts.entry(name.chars().next().unwrap()).or_default() += 1);
    counts
}

#[test]
fn a_share_is_taken_of_each_class_by_seed() {
    let root = folder();
    for (share, wanted) in [("1%", [2, 1, 1]), ("10%", [20, 10, 1]), ("100%", [200, 100, 3])] {
        let subset: LabelSubset = share.parse().unwrap();
        let drawn = names(&subset, root.path(), 5);
        assert_eq!(counts(&drawn), HashMap::from([('a', wanted[0]), ('b', wanted[1]), ('c', wanted[2])]), "{share}");
        assert_eq!(drawn, names(&subset, root.path(), 5));
        assert_eq!(drawn == names(&subset, root.path(), 6), share == "100%", "{share}: another seed");
    }
}

#[test]
fn a_list_names_the_images_as_simclr_does() {
    let root = folder();
    let list = root.path().join("10percent.txt");
    std::fs::write(&list, "b7.png\na3.png\n\ntrain/c/c2.png\na199.png\n").unwrap();
    let of = || names(&LabelSubset::List(list.clone()), root.path(), 0);
    assert_eq!(of(), ["a199.png", "a3.png", "b7.png", "c2.png"]);
    for (text, words) in [
        ("a3.png\nzebra.png\n", "line 2, zebra.png: no training image has this name"),
        ("a3.png\na3.png\nb1.png\nc1.png", "twice"),
        ("", "this list is empty"),
    ] {
        std::fs::write(&list, text).unwrap();
        let (train, test) = (open(root.path(), Split::Train), open(root.path(), Split::Test));
        let error = LabelSubset::List(list.clone()).of(&train, test.as_ref(), 0).err().unwrap().to_string();
        assert!(error.contains("10percent.txt") && error.contains(words), "{error}");
    }
}
