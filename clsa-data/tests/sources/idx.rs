//! `idx`: the files of MNIST and its family.

use std::fs;
use std::io::Write;

use clsa_data::Split;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use crate::{classes, open, refusal};

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
fn hidden_files_and_folders_with_the_name_of_an_idx_file_are_passed_over() {
    let root = mnist();
    fs::write(root.path().join("._train-images-idx3-ubyte"), "of the system").unwrap();
    fs::create_dir(root.path().join("train-labels.idx1-ubyte")).unwrap();
    assert_eq!(classes(&*open("idx", root.path(), Split::Train).unwrap()), [0, 4, 2]);
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
    assert!(refusal("idx", root.path(), Split::Train).contains("above the limit of 1073741824"));
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
