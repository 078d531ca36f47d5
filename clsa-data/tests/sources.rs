//! The sources: what they read, and what they refuse.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use clsa_data::{DataError, Dataset, Label, Presence, SampleError, Source, Split};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

fn open(kind: &str, path: &Path, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
    format!("{kind}:{}", path.display()).parse::<Source>().unwrap().open(split)
}

fn refusal(kind: &str, path: &Path, split: Split) -> String {
    let error = open(kind, path, split).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn write_image(path: impl AsRef<Path>, red: u8) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(4, 3, Rgb([red, 0, 0])).save_with_format(path, image::ImageFormat::Png).unwrap();
}

fn reds(dataset: &dyn Dataset) -> Vec<u8> {
    (0..dataset.len()).map(|index| dataset.image(index).unwrap().get_pixel(0, 0).0[0]).collect()
}

fn classes(dataset: &dyn Dataset) -> Vec<u32> {
    (0..dataset.len()).map(|index| dataset.label(index).class().unwrap()).collect()
}

// ---- the string

#[test]
fn a_source_is_displayed_as_it_is_parsed() {
    for text in [
        "imagefolder:/a/b",
        "cifar-bin:x.tar.gz",
        "idx:mnist",
        "wds:/d/{split}-{000..127}.tar",
        "parquet:/d",
        "voc2007:VOCdevkit",
        "flat:.",
        "procedural:classes=12,train=4000,test=1000,side=32,seed=0",
    ] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
}

#[test]
fn a_wrong_source_is_refused_with_what_is_expected() {
    for (text, part) in [
        ("imagefolder", "imagefolder:PATH"),
        ("imagefolder:", "imagefolder:PATH"),
        ("imagenet:/x", "no known kind"),
        ("", "no known kind"),
        ("procedural:classes", "KEY=VALUE"),
        ("procedural:colour=1", "unknown key `colour`"),
        ("procedural:classes=17", "2..=16"),
        ("procedural:classes=x", "whole number"),
        ("procedural:train=3", "train = 3"),
        ("procedural:side=4", "8..=1024"),
    ] {
        let error = text.parse::<Source>().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(&format!("`{text}`")), "{error}");
    }
}

// ---- imagefolder

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
    assert!(refusal("imagefolder", root.path(), Split::Train).contains("no folders"));
    fs::create_dir_all(root.path().join("train/cat")).unwrap();
    assert!(refusal("imagefolder", root.path(), Split::Train).contains("train/cat: is a class with no image files"));
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

// ---- flat

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

// ---- cifar-bin

/// Records whose label is `number % classes` and whose first pixel is (number, 1, 2).
fn cifar_records(label_bytes: usize, count: u8, classes: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        bytes.extend(vec![77; label_bytes - 1]);
        bytes.push(number % classes);
        for (plane, first) in [number, 1, 2].into_iter().enumerate() {
            bytes.push(first);
            bytes.extend(vec![plane as u8; 1023]);
        }
    }
    bytes
}

fn cifar_10() -> TempDir {
    let root = TempDir::new().unwrap();
    for file in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        fs::write(root.path().join(format!("{file}.bin")), cifar_records(1, 12, 10)).unwrap();
    }
    let names: Vec<String> = (0..10).map(|class| format!("name{class}")).collect();
    fs::write(root.path().join("batches.meta.txt"), names.join("\n") + "\n\n").unwrap();
    root
}

fn tar_gz(folder: &Path, inside: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    archive.append_dir_all(inside, folder).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn cifar_10_is_read_from_a_folder_and_from_the_archive() {
    let root = cifar_10();
    let archive = TempDir::new().unwrap();
    let path = archive.path().join("cifar-10-binary.tar.gz");
    fs::write(&path, tar_gz(root.path(), "cifar-10-batches-bin")).unwrap();
    for path in [root.path(), &path] {
        let train = open("cifar-bin", path, Split::Train).unwrap();
        assert_eq!((train.len(), open("cifar-bin", path, Split::Test).unwrap().len()), (60, 12));
        assert_eq!(train.class_names()[3], "name3");
        let image = train.image(11).unwrap();
        assert_eq!((image.dimensions(), image.get_pixel(0, 0).0), ((32, 32), [11, 1, 2]));
        assert_eq!(image.get_pixel(1, 0).0, [0, 1, 2]);
        assert_eq!(train.label(11), Label::Class(1));
    }
}

#[test]
fn cifar_100_takes_the_fine_label() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("train.bin"), cifar_records(2, 20, 100)).unwrap();
    fs::write(root.path().join("test.bin"), cifar_records(2, 5, 100)).unwrap();
    let train = open("cifar-bin", root.path(), Split::Train).unwrap();
    assert_eq!((train.class_names().len(), train.label(17)), (100, Label::Class(17)));
}

#[test]
fn cifar_files_that_are_wrong_are_refused_by_name() {
    let root = cifar_10();
    let batch = root.path().join("data_batch_3.bin");
    let whole = fs::read(&batch).unwrap();
    fs::write(&batch, &whole[..whole.len() - 1]).unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Train).contains("data_batch_3.bin has 36875 bytes"));
    fs::write(&batch, []).unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Train).contains("data_batch_3.bin has 0 bytes"));
    let mut wrong = whole.clone();
    wrong[3073] = 10;
    fs::write(&batch, wrong).unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Train).contains("record 1 of data_batch_3.bin has label 10"));
    fs::remove_file(&batch).unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Train).contains("lacks the file data_batch_3.bin"));
    fs::write(root.path().join("batches.meta.txt"), "a\nb\n").unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Test).contains("names 2 classes, not 10"));
    let empty = TempDir::new().unwrap();
    assert!(refusal("cifar-bin", empty.path(), Split::Train).contains("CIFAR-10"));
}

#[test]
fn a_cifar_archive_cut_in_the_middle_is_refused() {
    let whole = tar_gz(cifar_10().path(), "x");
    let root = TempDir::new().unwrap();
    let path = root.path().join("cut.tar.gz");
    for end in [0, 1, 10, whole.len() / 2, whole.len() * 9 / 10] {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(refusal("cifar-bin", &path, Split::Train).contains("cut.tar.gz"), "cut at {end}");
    }
}

// ---- idx

fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn mnist() -> TempDir {
    let root = TempDir::new().unwrap();
    let put = |name: &str, bytes: Vec<u8>| fs::write(root.path().join(name), bytes).unwrap();
    put("train-images-idx3-ubyte", idx(&[3, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
    put("train-labels-idx1-ubyte", idx(&[3], &[0, 4, 2]));
    put("t10k-images-idx3-ubyte.gz", gz(&idx(&[1, 2, 2], &[20, 21, 22, 23])));
    put("t10k-labels-idx1-ubyte.gz", gz(&idx(&[1], &[2])));
    root
}

#[test]
fn idx_files_are_read_gzipped_or_not() {
    let root = mnist();
    let train = open("idx", root.path(), Split::Train).unwrap();
    assert_eq!(classes(&*train), [0, 4, 2]);
    assert_eq!(train.class_names().len(), 5);
    assert_eq!(train.image(1).unwrap().get_pixel(1, 1).0, [8, 8, 8]);
    let test = open("idx", root.path(), Split::Test).unwrap();
    assert_eq!((test.len(), test.class_names().len()), (1, 5));
    assert_eq!(test.image(0).unwrap().get_pixel(0, 0).0, [20; 3]);
}

#[test]
fn idx_files_that_are_wrong_are_refused_by_name() {
    let root = mnist();
    let images = root.path().join("train-images-idx3-ubyte");
    let labels = root.path().join("train-labels-idx1-ubyte");
    fs::write(&labels, idx(&[2], &[0, 1])).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("train-labels-idx1-ubyte: has 2 labels for 3 images"));
    fs::write(&labels, idx(&[4], &[0, 1, 2])).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("states the dimensions [4] but has 3 values"));
    fs::write(&images, idx(&[3, 2, 2], &[0; 13])).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("states the dimensions [3, 2, 2] but has 13 values"));
    fs::write(&images, idx(&[u32::MAX, u32::MAX, u32::MAX], &[0; 13])).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("states the dimensions"));
    fs::write(&images, b"PK\x03\x04").unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("does not begin as an IDX file"));
    fs::write(&images, [0, 0, 13, 3]).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("type 0x0d"));
    fs::remove_file(&images).unwrap();
    assert!(refusal("idx", root.path(), Split::Train).contains("no file train-images"));
    let whole = gz(&idx(&[1], &[2]));
    fs::write(root.path().join("t10k-labels-idx1-ubyte.gz"), &whole[..whole.len() - 9]).unwrap();
    assert!(refusal("idx", root.path(), Split::Test).contains("cannot be read to its end"));
}

// ---- voc2007

fn annotation(objects: &[(&str, &str)]) -> String {
    let object = |(name, difficult): &(&str, &str)| {
        format!("<object><name>{name}</name><difficult>{difficult}</difficult><bndbox/></object>")
    };
    format!("<annotation><filename>x</filename>{}</annotation>", objects.iter().map(object).collect::<String>())
}

fn voc() -> TempDir {
    let root = TempDir::new().unwrap();
    let base = root.path().join("VOC2007");
    fs::create_dir_all(base.join("Annotations")).unwrap();
    fs::create_dir_all(base.join("ImageSets/Main")).unwrap();
    fs::write(base.join("ImageSets/Main/trainval.txt"), "000005\n000007\n").unwrap();
    fs::write(base.join("ImageSets/Main/test.txt"), "000001\n").unwrap();
    let objects: [(&str, &[(&str, &str)]); 3] = [
        ("000001", &[("person", "0")]),
        ("000005", &[("chair", "1"), ("chair", "0"), ("dog", "1")]),
        ("000007", &[("car", "0"), ("car", "1")]),
    ];
    for (id, objects) in objects {
        fs::write(base.join(format!("Annotations/{id}.xml")), annotation(objects)).unwrap();
        write_image(base.join(format!("JPEGImages/{id}.jpg")), 1);
    }
    root
}

#[test]
fn voc_honours_the_difficult_flag() {
    let root = voc();
    for path in [root.path().to_path_buf(), root.path().join("VOC2007")] {
        let train = open("voc2007", &path, Split::Train).unwrap();
        assert_eq!((train.len(), train.class_names().len()), (2, 20));
        let Label::Multi(presence) = train.label(0) else { panic!("not several labels") };
        let of = |name: &str| presence[train.class_names().iter().position(|class| class == name).unwrap()];
        assert_eq!(of("chair"), Presence::Present);
        assert_eq!(of("dog"), Presence::Difficult);
        assert_eq!(of("car"), Presence::Absent);
        assert!(train.image(1).is_ok());
        assert_eq!(open("voc2007", &path, Split::Test).unwrap().len(), 1);
    }
}

#[test]
fn voc_files_that_are_wrong_are_refused_by_name() {
    let root = voc();
    let xml = root.path().join("VOC2007/Annotations/000007.xml");
    for (text, part) in [
        ("<annotation><object>".to_string(), "not well-formed"),
        (annotation(&[("unicorn", "0")]), "unknown class `unicorn`"),
        (annotation(&[("car", "maybe")]), "not 0 or 1"),
        ("<annotation><object/></annotation>".into(), "without a name"),
        ("<html/>".into(), "not <annotation>"),
    ] {
        fs::write(&xml, text).unwrap();
        let error = refusal("voc2007", root.path(), Split::Train);
        assert!(error.contains(part) && error.contains("000007.xml"), "{error}");
    }
    fs::remove_file(&xml).unwrap();
    assert!(refusal("voc2007", root.path(), Split::Train).contains("000007.xml"));
    fs::write(root.path().join("VOC2007/ImageSets/Main/trainval.txt"), "../../../etc/passwd").unwrap();
    assert!(refusal("voc2007", root.path(), Split::Train).contains("no name of an image"));
    let empty = TempDir::new().unwrap();
    assert!(refusal("voc2007", empty.path(), Split::Train).contains("ImageSets"));
}

// ---- parquet

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_names_the_feature_that_it_needs() {
    let root = TempDir::new().unwrap();
    let error = open("parquet", root.path(), Split::Train).map(|_| ()).unwrap_err();
    assert!(matches!(error, DataError::FeatureOff { feature: "parquet", .. }));
    assert!(error.to_string().contains("--features parquet"), "{error}");
}
