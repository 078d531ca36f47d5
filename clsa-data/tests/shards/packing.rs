//! Packing any source to shards.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clsa_data::pack::{PackOptions, pack};
use clsa_data::{DataError, Dataset, Encoded, Fault, Label, NoSplit, Presence, SampleError, Source, Split, Splits};
use image::RgbImage;
use tempfile::TempDir;

use crate::{folder_source, png, source, splits, tar};

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
    let report = pack(&splits(&from), out.path(), &options, &|done, of| last.set((done, of))).unwrap();
    assert_eq!((report.samples, report.bad.len(), last.get()), (36, 0, (36, 36)));
    assert!(report.shards.len() > 3, "{:?}", report.shards);
    let packed = source(format!("wds:{}", out.path().display()));
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
fn the_order_in_the_shards_is_mixed_by_the_seed() {
    let (_root, from) = folder_source();
    let classes = |shuffle_seed| {
        let out = TempDir::new().unwrap();
        pack(&splits(&from), out.path(), &PackOptions { shuffle_seed, ..PackOptions::default() }, &|_, _| ()).unwrap();
        let packed = source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap();
        (0..packed.len()).map(|index| packed.label(index).class().unwrap()).collect::<Vec<_>>()
    };
    let (whole, zero, one) = (classes(None), classes(Some(0)), classes(Some(1)));
    assert!(whole.is_sorted() && !zero.is_sorted() && zero != one, "{zero:?} {one:?}");
    assert_eq!(zero, classes(PackOptions::default().shuffle_seed));
}

#[test]
fn packing_gives_the_same_bytes_for_any_number_of_threads() {
    let (_root, from) = folder_source();
    let bytes = |threads| {
        let out = TempDir::new().unwrap();
        let options = PackOptions { short_side: Some(16), threads, ..PackOptions::default() };
        let report = pack(&splits(&from), out.path(), &options, &|_, _| ()).unwrap();
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
        pack(&splits(&from), out.path(), &options, &|_, _| ()).unwrap();
        let packed = source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap();
        assert_eq!(packed.dimensions(0).unwrap(), size);
    }
}

#[test]
fn packing_bare_pixels_is_lossless_and_several_labels_survive() {
    let from = source("procedural:train=24,test=12");
    let out = TempDir::new().unwrap();
    pack(&splits(&from), out.path(), &PackOptions { shuffle_seed: None, ..PackOptions::default() }, &|_, _| ())
        .unwrap();
    let (a, b) =
        (from.open(Split::Train).unwrap(), source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap());
    for index in 0..24 {
        assert_eq!(a.image(index).unwrap(), b.image(index).unwrap());
        assert_eq!(a.label(index), b.label(index));
    }
    let root = TempDir::new().unwrap();
    tar(&root.path().join("train.tar"), &[("1.png", png(1)), ("1.json", b"{\"labels\":[1,0,-1]}".to_vec())]);
    let out = TempDir::new().unwrap();
    let from = splits(&source(format!("wds:{}", root.path().display())));
    pack(&from, out.path(), &PackOptions::default(), &|_, _| ()).unwrap();
    let packed = source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap();
    let expected = [Presence::Present, Presence::Difficult, Presence::Absent];
    assert_eq!(packed.label(0), Label::Multi(expected.into()));
}

#[test]
fn packing_leaves_out_bad_samples_with_their_reason_and_refuses_a_folder_in_use() {
    let (root, from) = folder_source();
    fs::write(root.path().join("train/cat/000.png"), "garbage").unwrap();
    let out = TempDir::new().unwrap();
    let report = pack(&splits(&from), out.path(), &PackOptions::default(), &|_, _| ()).unwrap();
    assert_eq!((report.samples, report.bad.len()), (35, 1));
    assert!(report.bad[0].contains("train/cat/000.png"), "{}", report.bad[0]);
    let error = pack(&splits(&from), out.path(), &PackOptions::default(), &|_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::Refused { fault: Fault::Output, .. }), "{error}");
    assert!(error.is_request() && error.to_string().contains("is not empty"), "{error}");
}

#[test]
fn packing_where_no_image_is_good_writes_nothing_and_names_one() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a.png"), "garbage").unwrap();
    let out = TempDir::new().unwrap();
    let to = out.path().join("shards");
    let from = splits(&source(format!("flat:{}", root.path().display())));
    let error = pack(&from, &to, &PackOptions::default(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("no image is good") && error.contains("a.png"), "{error}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

/// Names and contents of the files in a folder.
fn files(folder: &Path) -> Vec<(OsString, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn what_a_killed_packing_left_is_taken_over() {
    let (_root, from) = folder_source();
    let root = TempDir::new().unwrap();
    let pack = |out: &Path| pack(&splits(&from), out, &PackOptions::default(), &|_, _| ()).unwrap();
    let (undisturbed, out) = (root.path().join("undisturbed"), root.path().join("shards"));
    assert_eq!(pack(&undisturbed).took_over, None);
    let part = root.path().join("shards.part");
    fs::create_dir(&part).unwrap();
    for name in ["classes.txt", "train-000000.tar", "train-000007.tar", "test-000003.tar.idx", ".clsa-writing-aB3xYz"] {
        fs::write(part.join(name), "half").unwrap();
    }
    assert_eq!(pack(&out).took_over.as_ref(), Some(&part));
    assert!(!part.exists());
    let names = |folder: &Path| files(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&out), names(&undisturbed));
    let shard = |folder: &Path| fs::read(folder.join("train-000000.tar")).unwrap();
    assert_eq!(shard(&out), shard(&undisturbed));
}

#[test]
fn a_folder_that_another_packing_is_writing_is_refused() {
    let (_root, from) = folder_source();
    let root = TempDir::new().unwrap();
    let out = root.path().join("shards");
    let second = Cell::new(None);
    let first = pack(&splits(&from), &out, &PackOptions::default(), &|_, _| {
        second.set(Some(pack(&splits(&from), &out, &PackOptions::default(), &|_, _| ()).unwrap_err()));
    });
    assert_eq!(first.unwrap().samples, 36);
    let error = second.take().unwrap();
    assert!(error.is_request() && error.to_string().contains("shards.part: is being written"), "{error}");
    assert!(!root.path().join("shards.part").exists());
}

#[test]
fn shards_that_cannot_have_their_name_in_the_end_stay_whole_and_are_named() {
    let (_root, from) = folder_source();
    let root = TempDir::new().unwrap();
    let (out, part) = (root.path().join("shards"), root.path().join("shards.part"));
    let packed = pack(&splits(&from), &out, &PackOptions::default(), &|done, of| {
        if done == of {
            fs::create_dir_all(&out).unwrap();
            fs::write(out.join("mine"), "").unwrap();
        }
    });
    let error = packed.unwrap_err();
    assert!(!error.is_request(), "{error}");
    assert!(error.to_string().ends_with(&format!("whole in {}: rename that", part.display())), "{error}");
    assert_eq!(files(&out), [(OsString::from("mine"), Vec::<u8>::new())]);
    let kept = root.path().join("kept");
    fs::rename(&part, &kept).unwrap();
    assert_eq!(content(&source(format!("wds:{}", kept.display())), Split::Train), content(&from, Split::Train));
}

#[test]
fn a_folder_named_like_an_unfinished_one_keeps_what_no_packing_has_written() {
    let (_root, from) = folder_source();
    for name in ["notes.txt", "train-1.tar.gz", "train-.tar", "photos-000000.tar", "sub/train-000000.tar"] {
        let root = TempDir::new().unwrap();
        let part = root.path().join("shards.part");
        let (shard, file) = (part.join("train-000000.tar"), part.join(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&shard, "a shard").unwrap();
        fs::write(&file, "a file").unwrap();
        let out = root.path().join("shards");
        let error = pack(&splits(&from), &out, &PackOptions::default(), &|_, _| ()).unwrap_err();
        let holds = format!("shards.part: holds {}", name.split('/').next().unwrap());
        assert!(error.is_request() && error.to_string().contains(&holds), "{error}");
        assert!(shard.exists() && file.exists() && !out.exists());
    }
}

#[test]
fn options_out_of_range_are_refused_by_field() {
    let from = splits(&source("procedural:train=24,test=12"));
    let out = TempDir::new().unwrap();
    for (options, words) in [
        (PackOptions { quality: 0, ..PackOptions::default() }, "quality: is 0, but must be in 1..=100"),
        (PackOptions { short_side: Some(0), ..PackOptions::default() }, "short_side: is 0, but must be at least 1"),
    ] {
        let error = pack(&from, out.path(), &options, &|_, _| ()).unwrap_err();
        assert_eq!((error.is_request(), error.to_string().as_str()), (true, words));
    }
}

#[test]
fn labels_that_are_the_presence_of_one_class_are_refused() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("shards");
    let train = Arc::new(Says { extension: "png", label: Label::Multi([Presence::Present].into()) });
    let from = Splits { train, test: Err(NoSplit::new("one", "has none")) };
    let error = pack(&from, &out, &PackOptions::default(), &|_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::Refused { fault: Fault::Labels, .. }), "{error}");
    assert!(error.to_string().contains("shards: cannot keep labels that say of one class"), "{error}");
    assert!(!out.exists());
}

/// One image whose data set says this of its extension and its label.
struct Says {
    extension: &'static str,
    label: Label,
}

impl Dataset for Says {
    fn len(&self) -> usize {
        1
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, _index: usize) -> Label {
        self.label.clone()
    }

    fn image(&self, _index: usize) -> Result<RgbImage, SampleError> {
        Ok(RgbImage::new(2, 2))
    }

    fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
        Ok((2, 2))
    }

    fn name(&self, _index: usize) -> String {
        "one".into()
    }

    fn encoded(&self, _index: usize) -> Result<Option<Encoded>, SampleError> {
        Ok(Some(Encoded { bytes: png(5), extension: self.extension.into() }))
    }
}

#[test]
fn labels_survive_where_the_splits_have_other_numbers_of_classes() {
    let label = |files: [(&str, &str); 2]| {
        let root = TempDir::new().unwrap();
        for (split, (name, text)) in ["train.tar", "val.tar"].into_iter().zip(files) {
            tar(&root.path().join(split), &[("1.png", png(1)), (name, text.as_bytes().to_vec())]);
        }
        let out = TempDir::new().unwrap();
        let from = splits(&source(format!("wds:{}", root.path().display())));
        pack(&from, out.path(), &PackOptions::default(), &|_, _| ()).unwrap();
        let packed = source(format!("wds:{}", out.path().display()));
        Split::ALL.map(|split| packed.open(split).unwrap().label(0))
    };
    assert_eq!(label([("1.cls", "2"), ("1.cls", "7")]), [2, 7].map(Label::Class));
    let [p, a] = [Presence::Present, Presence::Absent];
    let [wide, narrow] = ["{\"labels\": [1, -1, 1]}", "{\"labels\": [-1, 1]}"];
    let multi = |presence: [Presence; 3]| Label::Multi(presence.into());
    assert_eq!(label([("1.json", wide), ("1.json", narrow)]), [multi([p, a, p]), multi([a, p, a])]);
    assert_eq!(label([("1.json", narrow), ("1.json", wide)]), [multi([a, p, a]), multi([p, a, p])]);
}

#[cfg(unix)]
#[test]
fn a_class_whose_name_would_not_be_read_back_is_refused() {
    let root = TempDir::new().unwrap();
    for class in ["cat ", "dog"] {
        let folder = root.path().join("train").join(class);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.png"), png(1)).unwrap();
    }
    let from = splits(&source(format!("imagefolder:{}", root.path().display())));
    let out = TempDir::new().unwrap();
    let error = pack(&from, out.path(), &PackOptions::default(), &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("cannot name the class \"cat \", which is empty or ends in a blank"), "{error}");
}

#[test]
fn what_a_data_set_says_of_an_extension_never_becomes_a_path_in_a_shard() {
    for said in ["/../../../x.png", "../x", "png\u{0}", "", "exe", "cls", "b.png"] {
        let out = TempDir::new().unwrap();
        let train = Arc::new(Says { extension: said, label: Label::None });
        let from = Splits { train, test: Err(NoSplit::new("one", "has none")) };
        pack(&from, out.path(), &PackOptions::default(), &|_, _| ()).unwrap();
        let packed = source(format!("wds:{}", out.path().display())).open(Split::Train).unwrap();
        assert!(packed.name(0).ends_with("train-000000.tar/000000000.png"), "{said}: {}", packed.name(0));
        assert_eq!(packed.image(0).unwrap().get_pixel(0, 0).0[0], 5);
    }
}
