//! `cifar-bin`: folders and archives.

use std::fs;
use std::path::Path;

use clsa_data::{DataError, Fault, Label, Split};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::{fault, open, refusal};

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
fn a_folder_with_both_cifar_10_and_cifar_100_is_refused() {
    let root = TempDir::new().unwrap();
    fs::rename(cifar_10().keep(), root.path().join("cifar-10-batches-bin")).unwrap();
    assert_eq!(open("cifar-bin", root.path(), Split::Test).unwrap().len(), 12);
    let hundred = root.path().join("cifar-100-binary");
    fs::create_dir(&hundred).unwrap();
    fs::write(hundred.join("train.bin"), cifar_records(2, 20, 100)).unwrap();
    let error = refusal("cifar-bin", root.path(), Split::Train);
    assert!(error.ends_with("has both cifar-10-batches-bin and cifar-100-binary; name one of them"), "{error}");
    assert_eq!(open("cifar-bin", &hundred, Split::Train).unwrap().len(), 20);
    // The same where the files of both are in one folder.
    let root = cifar_10();
    fs::write(root.path().join("train.bin"), cifar_records(2, 20, 100)).unwrap();
    let error = refusal("cifar-bin", root.path(), Split::Train);
    assert!(error.ends_with("has files of both CIFAR-10 and CIFAR-100; keep those of one"), "{error}");
    assert_eq!(open("cifar-bin", root.path(), Split::Test).unwrap().len(), 12);
}

#[test]
fn cifar_files_that_are_wrong_are_refused_by_name() {
    let root = cifar_10();
    let batch = root.path().join("data_batch_3.bin");
    let whole = fs::read(&batch).unwrap();
    fs::write(&batch, &whole[..whole.len() - 1]).unwrap();
    assert!(refusal("cifar-bin", root.path(), Split::Train).contains("data_batch_3.bin has 36875 bytes"));
    assert_eq!(fault("cifar-bin", root.path(), Split::Train), Fault::Damaged);
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
    assert_eq!(fault("cifar-bin", empty.path(), Split::Train), Fault::Layout);
    let absent = open("cifar-bin", &empty.path().join("absent.tar.gz"), Split::Train).err().unwrap();
    assert!(matches!(absent, DataError::Read { .. }) && absent.is_request(), "{absent}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_cifar_folder_or_archive_that_cannot_be_read_is_said_with_the_reason() {
    let root = cifar_10();
    // A link to itself cannot be followed, and the first page of a process cannot be read.
    let unpacked = root.path().join("cifar-10-batches-bin");
    std::os::unix::fs::symlink(&unpacked, &unpacked).unwrap();
    for (path, named) in [(root.path(), &*unpacked), (Path::new("/proc/self/mem"), Path::new("/proc/self/mem"))] {
        let error = open("cifar-bin", path, Split::Train).err().unwrap();
        assert!(matches!(&error, DataError::Read { path, .. } if path == named), "{error}");
    }
}

#[test]
fn a_cifar_archive_cut_in_the_middle_or_altered_is_refused() {
    let whole = tar_gz(cifar_10().path(), "x");
    let root = TempDir::new().unwrap();
    let path = root.path().join("cut.tar.gz");
    for end in [0, 1, 10, whole.len() / 2, whole.len() * 9 / 10] {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(refusal("cifar-bin", &path, Split::Train).contains("cut.tar.gz"), "cut at {end}");
    }
    // The last eight bytes are the checksum and the size of what is packed.
    let mut altered = whole.clone();
    altered[whole.len() - 8] ^= 1;
    fs::write(&path, &altered).unwrap();
    assert!(refusal("cifar-bin", &path, Split::Train).contains("cut.tar.gz"), "another checksum");
}
