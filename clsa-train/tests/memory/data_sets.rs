//! Data sets other than folders of images: shards, their indexes, CIFAR, IDX, VOC.

use super::{LIMIT_MIB, LONG, UNPACKED, limited, refused, sparse};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

/// The header of a tar member.
fn header(name: &str, kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A long file that begins with a header for nearly all of it, and ends as a tar archive does.
fn long_member(path: &Path, before: &[u8], name: &str, kind: tar::EntryType) {
    let size = LONG - before.len() as u64 - 4 * 512;
    sparse(path, &[before, &header(name, kind, size)].concat(), LONG);
}

fn info(source: &str) -> assert_cmd::Command {
    let mut command = limited(LIMIT_MIB);
    command.args(["data", "info", source]);
    command
}

#[test]
fn names_labels_and_members_of_shards_are_not_read_whole() {
    let mut image = header("1.png", tar::EntryType::Regular, 3);
    image.resize(1024, 7);
    for (what, name, kind, words) in [
        ("long name", "././@LongLink", tar::EntryType::GNULongName, "above the limit of 1048576"),
        ("long link", "././@LongLink", tar::EntryType::GNULongLink, "above the limit of 1048576"),
        ("extended header", "PaxHeader/1", tar::EntryType::XHeader, "above the limit of 1048576"),
        ("class", "1.cls", tar::EntryType::Regular, "more than the 1048576 that are read for a label"),
        ("sparse file", "1.png", tar::EntryType::GNUSparse, "train.tar"),
    ] {
        let root = TempDir::new().unwrap();
        long_member(&root.path().join("train.tar"), &image, name, kind);
        refused(what, &mut info(&format!("wds:{}", root.path().display())), words);
    }
    let root = TempDir::new().unwrap();
    long_member(&root.path().join("train.tar"), &[], "1.png", tar::EntryType::Regular);
    let source = format!("wds:{}", root.path().display());
    refused("image", limited(LIMIT_MIB).args(["data", "verify", "--threads", "1", &source]), "1 of 1 image is bad");
    fs::write(root.path().join("train.tar"), b"").unwrap();
    sparse(&root.path().join("classes.txt"), b"ant\n", LONG);
    refused("names of classes", &mut info(&source), "classes.txt");
}

#[test]
fn an_index_that_states_more_than_its_shard_can_hold_is_refused() {
    let root = TempDir::new().unwrap();
    let out = root.path().join("shards");
    let source = format!("wds:{}", out.display());
    limited(LIMIT_MIB)
        .args(["data", "pack", "procedural:classes=2,train=8,test=4,side=8"])
        .arg(&out)
        .assert()
        .success();
    let index = out.join("train-000000.tar.idx");
    let whole = fs::read(&index).unwrap();
    // The fields behind the magic number: among them are numbers of samples and labels, and of bytes.
    for field in 0..10 {
        for value in [u64::MAX, 1 << 40, 1 << 32] {
            let mut bytes = whole.clone();
            bytes.truncate(bytes.len() - 4);
            bytes[8 + 8 * field..16 + 8 * field].copy_from_slice(&value.to_le_bytes());
            let checksum = crc32fast::hash(&bytes);
            bytes.extend(checksum.to_le_bytes());
            fs::write(&index, bytes).unwrap();
            let output = info(&source).output().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 2)), "{field} {value}: {}", super::error_stream(&output));
        }
    }
    sparse(&index, &whole, LONG);
    refused("long index", &mut info(&source), "train-000000.tar.idx");
}

/// A gzipped file of these bytes and so many zeros.
fn gzipped(path: &Path, bytes: &[u8], zeros: u64) {
    let mut file = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    file.write_all(bytes).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), zeros), &mut file).unwrap();
    file.finish().unwrap();
}

fn idx(sizes: &[u32]) -> Vec<u8> {
    [vec![0, 0, 8, sizes.len() as u8], sizes.iter().flat_map(|size| size.to_be_bytes()).collect()].concat()
}

#[test]
fn idx_files_that_state_billions_of_images_or_unpack_to_gigabytes_are_refused() {
    let root = TempDir::new().unwrap();
    let (images, labels) = (root.path().join("train-images-idx3-ubyte"), root.path().join("train-labels-idx1-ubyte"));
    let source = format!("idx:{}", root.path().display());
    fs::write(&labels, [idx(&[2]), vec![0, 1]].concat()).unwrap();
    for sizes in [&[u32::MAX, 28, 28][..], &[u32::MAX; 3], &[2, 60_000, 60_000], &[u32::MAX; 255]] {
        fs::write(&images, [idx(sizes), vec![0; 1568]].concat()).unwrap();
        refused(&format!("{sizes:?}"), &mut info(&source), "train-images-idx3-ubyte");
    }
    // As long as it says.
    sparse(&images, &idx(&[2 << 20, 32, 32]), 16 + (2 << 30));
    refused("long file", &mut info(&source), "train-images-idx3-ubyte");
    fs::remove_file(&images).unwrap();
    let zipped = root.path().join("train-images-idx3-ubyte.gz");
    for sizes in [[2, 28, 28], [1 << 21, 32, 32]] {
        gzipped(&zipped, &idx(&sizes), UNPACKED);
        refused(&format!("zipped {sizes:?}"), &mut info(&source), "train-images-idx3-ubyte.gz");
    }
    fs::remove_file(&zipped).unwrap();
    fs::write(&images, [idx(&[2, 28, 28]), vec![0; 1568]].concat()).unwrap();
    fs::write(&labels, [idx(&[u32::MAX]), vec![0, 1]].concat()).unwrap();
    refused("labels", &mut info(&source), "train-labels-idx1-ubyte");
}

#[test]
fn archives_and_files_of_cifar_are_not_read_beyond_what_cifar_has() {
    let root = TempDir::new().unwrap();
    let archive = root.path().join("cifar.tar");
    let source = format!("cifar-bin:{}", archive.display());
    for (name, kind) in [
        ("././@LongLink", tar::EntryType::GNULongName),
        ("././@LongLink", tar::EntryType::GNULongLink),
        ("PaxHeader/1", tar::EntryType::XHeader),
        ("data_batch_1.bin", tar::EntryType::Regular),
        ("data_batch_1.bin", tar::EntryType::GNUSparse),
    ] {
        long_member(&archive, &[], name, kind);
        refused(&format!("{kind:?}"), &mut info(&source), "cifar.tar");
    }
    for (name, kind) in [("././@LongLink", tar::EntryType::GNULongName), ("data_batch_1.bin", tar::EntryType::Regular)]
    {
        gzipped(&archive, &header(name, kind, UNPACKED), UNPACKED);
        refused(&format!("zipped {kind:?}"), &mut info(&source), "cifar.tar");
    }
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    sparse(&folder.join("data_batch_1.bin"), &[], LONG);
    refused("folder", &mut info(&format!("cifar-bin:{}", folder.display())), "data_batch_1.bin");
}

#[test]
fn lists_and_annotations_of_voc_are_not_read_beyond_what_texts_have() {
    let root = TempDir::new().unwrap();
    let (lists, annotations) = (root.path().join("ImageSets/Main"), root.path().join("Annotations"));
    fs::create_dir_all(&lists).unwrap();
    fs::create_dir_all(&annotations).unwrap();
    let (list, annotation) = (lists.join("trainval.txt"), annotations.join("000001.xml"));
    let source = format!("voc2007:{}", root.path().display());
    fs::write(&list, "000001\n").unwrap();
    sparse(&annotation, b"<annotation>", LONG);
    refused("annotation", &mut info(&source), "000001.xml");
    // Each entity is ten of the one before.
    let entities: String =
        (1..12).map(|at| format!("<!ENTITY e{at} \"{}\">", format!("&e{};", at - 1).repeat(10))).collect();
    let xml = format!("<!DOCTYPE annotation [<!ENTITY e0 \"0123456789\">{entities}]><annotation>&e11;</annotation>");
    fs::write(&annotation, xml).unwrap();
    refused("entities", &mut info(&source), "000001.xml");
    sparse(&list, b"000001\n", LONG);
    refused("list", &mut info(&source), "trainval.txt");
}
