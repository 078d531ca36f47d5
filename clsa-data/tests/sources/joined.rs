//! Sources joined by `+`.

use super::{classes, reds, write_image};
use clsa_data::{DataError, Source, SourceKind, Split};
use std::path::Path;
use std::sync::Arc;

fn open(text: &str, split: Split) -> Result<Arc<dyn clsa_data::Dataset>, DataError> {
    text.parse::<Source>().unwrap().open(split)
}

/// Two folders: the classes a and b with a test split, and the classes b and c without one.
fn folders(at: &Path) -> (String, String) {
    for (value, image) in ["one/train/a/0.png", "one/train/b/0.png", "one/val/b/0.png", "two/b/0.png", "two/c/0.png"]
        .into_iter()
        .enumerate()
    {
        write_image(at.join(image), value as u8);
    }
    (at.join("one").display().to_string(), at.join("two").display().to_string())
}

#[test]
fn a_plus_joins_where_a_kind_follows_and_belongs_to_a_path_elsewhere() {
    let parts = |text: &str| -> Vec<(SourceKind, String)> {
        let source: Source = text.parse().unwrap();
        assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
        source.parts().iter().map(|part| (part.kind, part.argument.clone())).collect()
    };
    use SourceKind::{Flat, ImageFolder, Procedural, Wds};
    let text = |text: &str| text.to_owned();
    assert_eq!(parts("flat:/a+b/c++"), [(Flat, text("/a+b/c++"))]);
    assert_eq!(parts("flat:/a+flat"), [(Flat, text("/a+flat"))], "a kind that needs a path has none here");
    assert_eq!(parts("flat:/a+wds:/b+c.tar"), [(Flat, text("/a")), (Wds, text("/b+c.tar"))]);
    let joined = parts("procedural+imagefolder:/a+procedural:classes=3");
    assert_eq!((joined[0].0, &joined[1], joined[2].0), (Procedural, &(ImageFolder, text("/a")), Procedural));
    assert!(matches!("nothing:/a+flat:/b".parse::<Source>(), Err(DataError::UnknownKind { .. })));
}

#[test]
fn images_follow_one_another_and_classes_of_one_name_are_one() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = folders(root.path());
    let text = format!("imagefolder:{one}+imagefolder:{two}");
    let train = open(&text, Split::Train).unwrap();
    assert_eq!(train.class_names(), ["a", "b", "c"]);
    assert_eq!((reds(&*train), classes(&*train)), (vec![0, 1, 3, 4], vec![0, 1, 1, 2]));
    assert!(train.name(2).contains("two") && train.encoded(3).unwrap().is_some());
    let test = open(&text, Split::Test).unwrap();
    assert_eq!((reds(&*test), classes(&*test), test.class_names().len()), (vec![2], vec![1], 3));
    let two_alone = format!("imagefolder:{two}+imagefolder:{two}");
    assert!(matches!(open(&two_alone, Split::Test), Err(DataError::NoSplit(_))));
}

#[test]
fn joined_with_images_without_labels_there_are_none_and_that_is_noted() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = folders(root.path());
    let train = open(&format!("imagefolder:{one}+flat:{two}"), Split::Train).unwrap();
    assert_eq!((train.len(), train.class_names().len(), train.label(0).class()), (4, 0, None));
    assert!(train.notes().iter().any(|note| note.contains("labels are not used")));
}

#[test]
fn test_images_of_which_one_part_has_no_labels_have_none_and_that_is_noted() {
    let root = tempfile::tempdir().unwrap();
    let (one, _) = folders(root.path());
    let three = root.path().join("three");
    write_image(three.join("0.png"), 9);
    std::fs::write(three.join("train.csv"), "0.png,a\n").unwrap();
    std::fs::write(three.join("val.csv"), "0.png\n").unwrap();
    let list = format!("list:{}/{{split}}.csv", three.display());
    for text in [format!("imagefolder:{one}+{list}"), format!("{list}+imagefolder:{one}")] {
        let train = open(&text, Split::Train).unwrap();
        assert_eq!((train.class_names().len(), classes(&*train).len()), (2, 3));
        let test = open(&text, Split::Test).unwrap();
        assert_eq!((test.len(), test.class_names().len()), (2, 0));
        assert!((0..2).all(|index| test.label(index).class().is_none()));
        assert!(test.notes().iter().any(|note| note.contains("labels are not used")));
    }
}

#[test]
fn what_a_part_refuses_alone_is_refused_joined() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = folders(root.path());
    write_image(root.path().join("one/val/z/0.png"), 9);
    match open(&format!("imagefolder:{one}+imagefolder:{two}"), Split::Test) {
        Err(DataError::Refused { path, .. }) => assert!(path.ends_with("val/z"), "{}", path.display()),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

/// A shard of as many images.
fn write_shard(path: &Path, images: usize) {
    let picture = path.with_extension("png");
    write_image(&picture, 7);
    let mut shard = tar::Builder::new(std::fs::File::create(path).unwrap());
    for number in 0..images {
        shard.append_path_with_name(&picture, format!("{number}.png")).unwrap();
    }
    shard.finish().unwrap();
}

#[test]
fn shards_stay_shards_only_among_themselves() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    write_shard(&at("a.tar"), 2);
    write_shard(&at("b.tar"), 3);
    let (a, b) = (format!("wds:{}", at("a.tar").display()), format!("wds:{}", at("b.tar").display()));
    let shards = open(&format!("{a}+{b}"), Split::Train).unwrap();
    assert_eq!((shards.len(), shards.shards()), (5, Some(vec![2, 3])));
    let mixed = open(&format!("{a}+procedural:train=12"), Split::Train).unwrap();
    assert_eq!((mixed.len(), mixed.shards()), (14, None));
}
