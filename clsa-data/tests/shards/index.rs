//! The index of a shard.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_data::fuzzing::ShardIndex;
use clsa_data::shard_index::{IndexReport, write_indexes};
use clsa_data::{Fault, Split};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{fault, png, refusal, source, tar, two_shards};

fn write_index(shard: &Path) {
    write_indexes(&shard.display().to_string(), &|_, _| ()).unwrap();
}

#[test]
fn an_index_file_gives_the_same_samples_as_the_headers() {
    let root = two_shards();
    let text = format!("wds:{}", root.path().display());
    let read = || {
        let train = source(&text).open(Split::Train).unwrap();
        (0..train.len()).map(|i| (train.name(i), train.label(i), train.encoded(i).unwrap())).collect::<Vec<_>>()
    };
    let scanned = read();
    for shard in ["train-000.tar", "train-001.tar"] {
        write_index(&root.path().join(shard));
    }
    assert_eq!(read(), scanned);
}

#[test]
fn indexes_are_written_for_every_shard_of_every_split_and_stale_ones_replaced() {
    let root = two_shards();
    let stale = root.path().join("train-000.tar.idx");
    fs::write(&stale, "of another shard").unwrap();
    assert!(refusal(&format!("wds:{}", root.path().display())).contains("train-000.tar.idx"));
    let unfinished = root.path().join(".clsa-writing-a1b2c3");
    fs::write(&unfinished, "what a killed process has left").unwrap();
    let most_done = AtomicU64::new(0);
    let pattern = root.path().display().to_string();
    let report = write_indexes(&pattern, &|done, of| {
        most_done.fetch_max(done, Ordering::Relaxed);
        assert_eq!(of, 3);
    });
    assert_eq!(report.unwrap(), IndexReport { shards: 3, samples: 4 });
    assert_eq!(most_done.into_inner(), 3);
    for name in ["train-000", "train-001", "val-000"] {
        let bytes = fs::read(root.path().join(format!("{name}.tar.idx"))).unwrap();
        assert!(ShardIndex::from_bytes(&bytes).is_ok(), "{name}");
    }
    assert!(!unfinished.exists());
    assert_eq!(source(format!("wds:{pattern}")).open(Split::Train).unwrap().len(), 3);
}

#[test]
fn a_shard_that_is_cut_short_gets_no_index_and_is_named() {
    let root = two_shards();
    let cut = root.path().join("train-001.tar");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("train-001.tar: is cut short"), "{error}");
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let of_the_cut_one =
        |name: &str| name.starts_with('.') || (name.starts_with("train-001") && name != "train-001.tar");
    assert!(!names.iter().any(|name| of_the_cut_one(&name.to_string_lossy())), "{names:?}");
}

#[test]
fn of_several_shards_that_are_damaged_the_first_is_named() {
    let root = TempDir::new().unwrap();
    for number in 0..8 {
        let path = root.path().join(format!("train-{number:03}.tar"));
        // The later a shard, the sooner it is found to be none.
        let files: Vec<_> = (0..40 * (8 - number)).map(|file| (format!("{file}.txt"), vec![b' '; 2000])).collect();
        tar(&path, &files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
        if number > 1 {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 3000]).unwrap();
        }
    }
    for _ in 0..5 {
        let error = write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap_err().to_string();
        assert!(error.contains("train-002.tar: is cut short"), "{error}");
    }
}

#[test]
fn the_index_of_each_split_is_made_by_the_names_beside_its_own_shards() {
    let root = TempDir::new().unwrap();
    for (split, names) in [("train", "ant\nbee\n"), ("val", "ant\nbee\nowl\n")] {
        fs::create_dir(root.path().join(split)).unwrap();
        fs::write(root.path().join(split).join("classes.txt"), names).unwrap();
    }
    tar(&root.path().join("train/0.tar"), &[("1.png", png(1)), ("1.cls", "bee".into())]);
    tar(&root.path().join("val/0.tar"), &[("1.png", png(1)), ("1.cls", "owl".into())]);
    let pattern = root.path().display().to_string();
    assert_eq!(write_indexes(&pattern, &|_, _| ()).unwrap(), IndexReport { shards: 2, samples: 2 });
    for (split, class) in [(Split::Train, 1), (Split::Test, 2)] {
        let dataset = source(format!("wds:{pattern}")).open(split).unwrap();
        assert_eq!((dataset.label(0).class(), dataset.notes()), (Some(class), Vec::new()), "{split}");
    }
}

#[test]
fn a_shard_shorter_than_its_index_says_is_refused() {
    let root = two_shards();
    let path = root.path().join("train-000.tar");
    write_index(&path);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = refusal(&format!("wds:{}", path.display()));
    assert!(error.contains("its index was made for"), "{error}");
    assert_eq!(fault(&format!("wds:{}", path.display())), Fault::Index);
    fs::write(root.path().join("train-000.tar.idx"), b"CLSAIDX3 and then nothing of use").unwrap();
    assert!(refusal(&format!("wds:{}", path.display())).contains("cut short or altered"));
    assert_eq!(fault(&format!("wds:{}", path.display())), Fault::Index);
}

/// Labels of the training split of the shard `a.tar` and how many of its samples can be read.
fn labels_and_readable(root: &TempDir) -> (Vec<Option<u32>>, usize) {
    let train = source(format!("wds:{}/a.tar", root.path().display())).open(Split::Train).unwrap();
    let labels = (0..train.len()).map(|index| train.label(index).class()).collect();
    (labels, (0..train.len()).filter(|&index| train.image(index).is_ok()).count())
}

#[test]
fn a_shard_that_was_written_anew_with_the_same_size_has_its_own_labels_and_not_those_of_its_index() {
    let shard = |labels: [&str; 2]| {
        [("1.png", png(1)), ("1.cls", labels[0].into()), ("2.png", png(2)), ("2.cls", labels[1].into())]
    };
    for keeps_its_time in [false, true] {
        let root = TempDir::new().unwrap();
        let path = root.path().join("a.tar");
        tar(&path, &shard(["4", "0"]));
        write_index(&path);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(labels_and_readable(&root), (vec![Some(4), Some(0)], 2));
        tar(&path, &shard(["7", "8"]));
        let other = if keeps_its_time { time } else { time + std::time::Duration::from_nanos(1) };
        fs::File::options().write(true).open(&path).unwrap().set_modified(other).unwrap();
        assert_eq!(labels_and_readable(&root), (vec![Some(7), Some(8)], 2));
        let notes = source(format!("wds:{}", path.display())).open(Split::Train).unwrap().notes();
        let words = "shards whose index is not used, because it was made for another state of them or for other class \
                     names: 1, such as ";
        assert!(notes[0].contains(words), "{notes:?}");
        write_index(&path);
        assert_eq!(labels_and_readable(&root), (vec![Some(7), Some(8)], 2));
    }
}

#[test]
fn a_copy_with_its_index_that_keeps_the_time_opens_by_the_index() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("a.tar");
    tar(&path, &[("1.png", png(1)), ("1.cls", "4".into())]);
    write_index(&path);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let copy = root.path().join("b.tar");
    fs::copy(&path, &copy).unwrap();
    fs::copy(root.path().join("a.tar.idx"), root.path().join("b.tar.idx")).unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_modified(time).unwrap();
    let train = source(format!("wds:{}", copy.display())).open(Split::Train).unwrap();
    assert!(train.notes().is_empty() && train.image(0).is_ok(), "{:?}", train.notes());
}

#[test]
fn a_sample_whose_label_is_another_than_its_index_says_is_bad_whatever_the_times_say() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("a.tar");
    let names: Vec<[String; 3]> =
        (0..9).map(|number| [format!("{number}.cls"), format!("{number}.png"), format!("{number}.txt")]).collect();
    let write = |label_of_4: &str, name_of_6: &str| {
        let mut files = Vec::new();
        for (number, [cls, png_name, txt]) in names.iter().enumerate() {
            files.push((cls.as_str(), if number == 4 { label_of_4.into() } else { b"0".to_vec() }));
            files.push((if number == 6 { name_of_6 } else { png_name }, png(number as u8)));
            files.push((txt, b"a caption".to_vec()));
        }
        tar(&path, &files);
    };
    write("0", "6.png");
    write_index(&path);
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    for (label, name, bad) in [("0", "6.png", None), ("1", "6.png", Some(4)), ("0", "6.gif", Some(6))] {
        write(label, name);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let train = source(format!("wds:{}", path.display())).open(Split::Train).unwrap();
        for index in 0..9 {
            match train.image(index) {
                Ok(_) => assert_ne!(Some(index), bad),
                Err(error) => {
                    assert_eq!(Some(index), bad, "{error}");
                    assert!(error.to_string().contains("a.tar.idx was made for; delete that"), "{error}");
                }
            }
        }
    }
}

#[test]
fn an_index_of_other_class_names_or_of_an_older_form_is_not_used() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("a.tar"), &[("1.png", png(1)), ("1.cls", "owl".into())]);
    let classes = |names: &str| fs::write(root.path().join("classes.txt"), names).unwrap();
    classes("ant\nowl\n");
    write_index(&root.path().join("a.tar"));
    assert_eq!(labels_and_readable(&root), (vec![Some(1)], 1));
    classes("owl\nant\n");
    assert_eq!(labels_and_readable(&root), (vec![Some(0)], 1));
    fs::write(root.path().join("a.tar.idx"), "CLSAIDX1 of some shard").unwrap();
    assert_eq!(labels_and_readable(&root), (vec![Some(0)], 1));
}

#[test]
fn what_is_not_used_of_a_shard_is_said_with_and_without_an_index() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("a.tar");
    tar(&path, &[("1.png", png(1)), ("1.json", "{".into()), ("2.cls", "1".into())]);
    let notes = || source(format!("wds:{}", path.display())).open(Split::Train).unwrap().notes();
    let scanned = notes();
    assert_eq!(scanned.len(), 2);
    write_index(&path);
    assert_eq!(notes(), scanned);
}

#[test]
fn an_index_of_no_images_is_refused_if_each_of_them_has_billions_of_labels() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("a.tar"), &[("1.cls", b"4".to_vec())]);
    write_index(&root.path().join("a.tar"));
    let mut bytes = fs::read(root.path().join("a.tar.idx")).unwrap();
    assert!(ShardIndex::from_bytes(&bytes).is_ok());
    // Behind the magic and three numbers are those of samples and of a sample's labels, and the checksum is at the end.
    assert_eq!(bytes[8 + 3 * 8..][..8], [0; 8]);
    bytes[8 + 4 * 8 + 4] = 1;
    let body = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(ShardIndex::from_bytes(&bytes).unwrap_err(), "is cut short or altered");
}

proptest! {
    #[test]
    fn an_index_that_is_cut_or_altered_is_refused(
        place in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
    ) {
        let root = TempDir::new().unwrap();
        tar(&root.path().join("a.tar"), &[("1.png", png(1)), ("1.cls", b"4".to_vec()), ("2.png", png(2)), ("2.cls", b"0".to_vec())]);
        write_index(&root.path().join("a.tar"));
        let bytes = fs::read(root.path().join("a.tar.idx")).unwrap();
        prop_assert_eq!(ShardIndex::from_bytes(&bytes).unwrap().to_bytes(), bytes.clone());
        prop_assert!(ShardIndex::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let mut altered = bytes.clone();
        altered[place.index(bytes.len())] ^= 1 << bit;
        prop_assert!(ShardIndex::from_bytes(&altered).is_err());
    }
}
