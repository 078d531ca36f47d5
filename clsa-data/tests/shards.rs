//! WebDataset shards: reading, packing, inspecting and verifying.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_data::inspect::inspect;
use clsa_data::pack::{PackOptions, pack};
use clsa_data::shard_index::{IndexReport, ShardIndex, write_index, write_indexes};
use clsa_data::verify::verify;
use clsa_data::{Dataset, Label, Limits, Presence, Source, Split, Splits};
use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use tempfile::TempDir;

fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(2, 2, Rgb([red, 0, 0])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Writes a tar of these files.
fn tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    fs::write(path, archive.into_inner().unwrap()).unwrap();
}

fn source(text: impl AsRef<str>) -> Source {
    text.as_ref().parse().unwrap()
}

fn refusal(text: &str) -> String {
    source(text).open(Split::Train).map(|_| ()).unwrap_err().to_string()
}

fn two_shards() -> TempDir {
    let root = TempDir::new().unwrap();
    tar(
        &root.path().join("train-000.tar"),
        &[
            ("a/0001.png", png(1)),
            ("a/0001.cls", b"2\n".to_vec()),
            ("a/0002.cls", b"0".to_vec()),
            ("a/0002.JPG", png(2)),
            ("readme.md", b"no sample".to_vec()),
        ],
    );
    tar(&root.path().join("train-001.tar"), &[("0003.json", b"{\"label\": 1}".to_vec()), ("0003.webp", png(3))]);
    tar(&root.path().join("val-000.tar"), &[("0004.png", png(4)), ("0004.cls", b"1".to_vec())]);
    root
}

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
fn an_index_file_gives_the_same_samples_as_the_headers() {
    let root = two_shards();
    let text = format!("wds:{}", root.path().display());
    let read = || {
        let train = source(&text).open(Split::Train).unwrap();
        (0..train.len()).map(|i| (train.name(i), train.label(i), train.encoded(i).unwrap())).collect::<Vec<_>>()
    };
    let scanned = read();
    for shard in ["train-000.tar", "train-001.tar"] {
        write_index(&root.path().join(shard), &[]).unwrap();
    }
    assert_eq!(read(), scanned);
}

#[test]
fn indexes_are_written_for_every_shard_of_every_split_and_stale_ones_replaced() {
    let root = two_shards();
    let stale = root.path().join("train-000.tar.idx");
    fs::write(&stale, "of another shard").unwrap();
    assert!(refusal(&format!("wds:{}", root.path().display())).contains("train-000.tar.idx"));
    let told = AtomicU64::new(0);
    let pattern = root.path().display().to_string();
    let report = write_indexes(&pattern, &|progress| {
        told.fetch_max(progress.done, Ordering::Relaxed);
        assert_eq!(progress.total, 3);
    });
    assert_eq!(report.unwrap(), IndexReport { shards: 3, samples: 4 });
    assert_eq!(told.into_inner(), 3);
    for name in ["train-000", "train-001", "val-000"] {
        let bytes = fs::read(root.path().join(format!("{name}.tar.idx"))).unwrap();
        assert!(ShardIndex::from_bytes(&bytes).is_ok(), "{name}");
    }
    assert_eq!(source(format!("wds:{pattern}")).open(Split::Train).unwrap().len(), 3);
}

#[test]
fn a_shard_that_is_cut_short_gets_no_index_and_is_named() {
    let root = two_shards();
    let cut = root.path().join("train-001.tar");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let error = write_indexes(&root.path().display().to_string(), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("train-001.tar: is cut short"), "{error}");
    assert!(!root.path().join("train-001.tar.idx").exists() && !root.path().join("train-001.tar.idx.part").exists());
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
fn a_shard_shorter_than_its_index_says_is_refused() {
    let root = two_shards();
    let path = root.path().join("train-000.tar");
    write_index(&path, &[]).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = refusal(&format!("wds:{}", path.display()));
    assert!(error.contains("its index was made for"), "{error}");
    fs::write(root.path().join("train-000.tar.idx"), b"CLSAIDX1 and then nothing of use").unwrap();
    assert!(refusal(&format!("wds:{}", path.display())).contains("cut short or altered"));
}

#[test]
fn shards_that_are_wrong_are_refused_by_name() {
    let root = TempDir::new().unwrap();
    let folder = root.path().display().to_string();
    assert!(refusal(&format!("wds:{folder}")).contains("has no .tar file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3}}.tar")).contains("x-0.tar"));
    assert!(refusal(&format!("wds:{folder}/x-*.tar")).contains("names no file"));
    assert!(refusal(&format!("wds:{folder}/x-{{0..3.tar")).contains("without a `}`"));
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
}

#[test]
fn a_bad_image_in_a_shard_is_a_bad_sample_that_is_named() {
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("2.png", b"garbage".to_vec())]);
    let train = source(format!("wds:{}", root.path().display())).open(Split::Train).unwrap();
    assert!(train.image(0).is_ok());
    assert!(train.image(1).unwrap_err().to_string().contains("train.tar/2.png"));
}

proptest! {
    #[test]
    fn an_index_that_is_cut_or_altered_is_refused(
        place in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<prop::sample::Index>(),
    ) {
        let root = TempDir::new().unwrap();
        tar(&root.path().join("a.tar"), &[("1.png", png(1)), ("1.cls", b"4".to_vec()), ("2.png", png(2)), ("2.cls", b"0".to_vec())]);
        write_index(&root.path().join("a.tar"), &[]).unwrap();
        let bytes = fs::read(root.path().join("a.tar.idx")).unwrap();
        prop_assert_eq!(ShardIndex::from_bytes(&bytes).unwrap().to_bytes(), bytes.clone());
        prop_assert!(ShardIndex::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let mut altered = bytes.clone();
        altered[place.index(bytes.len())] ^= 1 << bit;
        prop_assert!(ShardIndex::from_bytes(&altered).is_err());
    }
}

// ---- pack, inspect, verify

fn folder_source() -> (TempDir, Source) {
    let root = TempDir::new().unwrap();
    for (split, count) in [("train", 30u8), ("val", 6)] {
        for number in 0..count {
            let class = ["cat", "dog", "owl"][usize::from(number) % 3];
            let path = root.path().join(format!("{split}/{class}/{number:03}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::from_fn(40, 30, |x, _| Rgb([number, x as u8, 9])).save(path).unwrap();
        }
    }
    let source = Source::ImageFolder(root.path().into());
    (root, source)
}

fn splits(source: &Source) -> Splits {
    source.open_splits(Limits::default()).unwrap()
}

/// Class, first red value and size of every sample, sorted.
fn content(source: &Source, split: Split) -> Vec<(u32, u8, (u32, u32))> {
    let dataset = source.open(split).unwrap();
    let mut all: Vec<_> = (0..dataset.len())
        .map(|index| {
            let image = dataset.image(index).unwrap();
            (dataset.label(index).class().unwrap(), image.get_pixel(0, 0).0[0], image.dimensions())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn packed_shards_hold_the_same_samples_and_files() {
    let (_root, from) = folder_source();
    let out = TempDir::new().unwrap();
    let options = PackOptions { shard_bytes: 1000, threads: 2, ..PackOptions::default() };
    let last = Cell::new((0, 0));
    let report =
        pack(&splits(&from), out.path(), &options, &|progress| last.set((progress.done, progress.total))).unwrap();
    assert_eq!((report.samples, report.bad.len(), last.get()), (36, 0, (36, 36)));
    assert!(report.shards.len() > 3, "{:?}", report.shards);
    let packed = Source::Wds(out.path().display().to_string());
    for split in Split::ALL {
        assert_eq!(content(&packed, split), content(&from, split));
    }
    let (a, b) = (from.open(Split::Train).unwrap(), packed.open(Split::Train).unwrap());
    assert_eq!(a.class_names(), b.class_names());
    let files = |dataset: &dyn Dataset| {
        let mut files: Vec<Vec<u8>> = (0..dataset.len()).map(|i| dataset.encoded(i).unwrap().unwrap().bytes).collect();
        files.sort();
        files
    };
    assert_eq!(files(&*a), files(&*b));
    assert!(report.shards.iter().all(|shard| shard.is_file()));
    assert!(!out.path().with_extension("part").exists());
}

#[test]
fn packing_gives_the_same_bytes_for_any_number_of_threads() {
    let (_root, from) = folder_source();
    let bytes = |threads| {
        let out = TempDir::new().unwrap();
        let options = PackOptions { short_side: Some(16), threads, ..PackOptions::default() };
        let report = pack(&splits(&from), out.path(), &options, &|_| ()).unwrap();
        report.shards.iter().map(|shard| fs::read(shard).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(bytes(1), bytes(3));
}

#[test]
fn packing_resizes_the_short_side_and_never_enlarges() {
    let (_root, from) = folder_source();
    for (side, size) in [(15, (20, 15)), (64, (40, 30))] {
        let out = TempDir::new().unwrap();
        let options = PackOptions { short_side: Some(side), ..PackOptions::default() };
        pack(&splits(&from), out.path(), &options, &|_| ()).unwrap();
        let packed = Source::Wds(out.path().display().to_string()).open(Split::Train).unwrap();
        assert_eq!(packed.dimensions(0).unwrap(), size);
    }
}

#[test]
fn packing_bare_pixels_is_lossless_and_several_labels_survive() {
    let from = source("procedural:train=24,test=12");
    let out = TempDir::new().unwrap();
    pack(&splits(&from), out.path(), &PackOptions { shuffle_seed: None, ..PackOptions::default() }, &|_| ()).unwrap();
    let (a, b) =
        (from.open(Split::Train).unwrap(), source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap());
    for index in 0..24 {
        assert_eq!(a.image(index).unwrap(), b.image(index).unwrap());
        assert_eq!(a.label(index), b.label(index));
    }
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.json", b"{\"labels\":[1,0,-1]}".to_vec())]);
    let out = TempDir::new().unwrap();
    pack(&splits(&Source::Wds(root.path().display().to_string())), out.path(), &PackOptions::default(), &|_| ())
        .unwrap();
    let packed = Source::Wds(out.path().display().to_string()).open(Split::Train).unwrap();
    let expected = [Presence::Present, Presence::Difficult, Presence::Absent];
    assert_eq!(packed.label(0), Label::Multi(expected.into()));
}

#[test]
fn packing_leaves_out_bad_samples_with_their_reason_and_refuses_a_folder_in_use() {
    let (root, from) = folder_source();
    fs::write(root.path().join("train/cat/000.png"), "garbage").unwrap();
    let out = TempDir::new().unwrap();
    let report = pack(&splits(&from), out.path(), &PackOptions::default(), &|_| ()).unwrap();
    assert_eq!((report.samples, report.bad.len()), (35, 1));
    assert!(report.bad[0].contains("train/cat/000.png"), "{}", report.bad[0]);
    let error = pack(&splits(&from), out.path(), &PackOptions::default(), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("is not empty"), "{error}");
}

#[test]
fn packing_where_no_image_is_good_writes_nothing_and_names_one() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a.png"), "garbage").unwrap();
    let out = TempDir::new().unwrap();
    let to = out.path().join("shards");
    let from = splits(&Source::Flat(root.path().into()));
    let error = pack(&from, &to, &PackOptions::default(), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("no image is good") && error.contains("a.png"), "{error}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn what_an_interrupted_packing_left_is_named_and_not_touched() {
    let (_root, from) = folder_source();
    let out = TempDir::new().unwrap();
    fs::create_dir(out.path().join("shards.part")).unwrap();
    let to = out.path().join("shards");
    let error = pack(&splits(&from), &to, &PackOptions::default(), &|_| ()).unwrap_err().to_string();
    assert!(error.contains("shards.part") && error.contains("interrupted"), "{error}");
    assert!(!to.exists());
}

#[test]
fn a_test_split_that_is_broken_is_an_error_and_one_that_is_absent_is_not() {
    let root = TempDir::new().unwrap();
    let from = source(format!("wds:{}", root.path().display()));
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.cls", b"1".to_vec())]);
    assert!(splits(&from).test.err().unwrap().contains("test split"));
    fs::write(root.path().join("val.tar"), "no archive").unwrap();
    let error = from.open_splits(Limits::default()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("val.tar"), "{error}");
}

#[test]
fn inspection_counts_splits_classes_and_sizes() {
    let (root, from) = folder_source();
    RgbImage::new(10, 90).save(root.path().join("train/dog/tall.png")).unwrap();
    let info = inspect(&splits(&from), 1000);
    assert_eq!(info.splits.len(), 2);
    let train = &info.splits[0];
    assert_eq!((train.samples, train.headers_read, train.headers_bad), (31, 31, 0));
    let counts: Vec<(&str, usize)> = train.classes.iter().map(|class| (class.name.as_str(), class.samples)).collect();
    assert_eq!(counts, [("cat", 10), ("dog", 11), ("owl", 10)]);
    let sizes = train.sizes.as_ref().unwrap();
    assert_eq!((sizes.smallest, sizes.median, sizes.largest), ((10, 90), (40, 30), (40, 30)));
    assert_eq!(sizes.least_short_side, 10);
    let flat = inspect(&splits(&Source::Flat(root.path().into())), 5);
    assert_eq!((flat.splits.len(), flat.splits[0].headers_read), (1, 5));
    assert!(flat.no_test.unwrap().contains("no test split"));
}

#[test]
fn verification_lists_every_bad_file_with_its_reason() {
    let (root, from) = folder_source();
    let done = AtomicU64::new(0);
    let count = |progress: clsa_data::Progress| {
        assert_eq!(progress.total, 36);
        done.fetch_max(progress.done, Ordering::Relaxed);
    };
    let report = verify(&splits(&from), 2, &count).unwrap();
    assert_eq!((report.samples, report.bad.len(), done.load(Ordering::Relaxed)), (36, 0, 36));
    fs::write(root.path().join("train/owl/002.png"), "").unwrap();
    fs::write(root.path().join("val/cat/000.png"), "garbage").unwrap();
    let report = verify(&splits(&from), 2, &|_| ()).unwrap();
    let found: Vec<(&str, bool)> =
        report.bad.iter().map(|bad| (bad.split.as_str(), bad.reason.contains(&bad.name))).collect();
    assert_eq!(found, [("train", true), ("test", true)]);
    assert!(report.bad[0].name.ends_with("train/owl/002.png") && report.bad[0].reason.contains("empty"));
}
