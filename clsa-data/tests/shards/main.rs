//! WebDataset shards: reading, indexing, packing, inspecting and verifying.

#[path = "../png/mod.rs"]
mod png;

mod index;
mod inspection;
mod packing;
mod reading;
mod splits;

use std::fs;
use std::path::Path;

use clsa_data::{DataError, Fault, Limits, Source, Split, Splits};
use image::{Rgb, RgbImage};
use png::png;
use tempfile::TempDir;

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

/// The source that a text names.
fn source(text: impl AsRef<str>) -> Source {
    text.as_ref().parse().unwrap()
}

/// The message with which a source is refused.
fn refusal(text: &str) -> String {
    source(text).open(Split::Train).map(|_| ()).unwrap_err().to_string()
}

/// For what a source is refused.
fn fault(text: &str) -> Fault {
    match source(text).open(Split::Train) {
        Err(DataError::Refused { fault, .. }) => fault,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("{text} is not refused"),
    }
}

/// Two shards of the training split, with three samples, and one of the test split.
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

/// Folders of 30 training and 6 test images of 40x30, in three classes.
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
    let source = source(format!("imagefolder:{}", root.path().display()));
    (root, source)
}

fn splits(source: &Source) -> Splits {
    source.open_splits(Limits::default()).unwrap()
}
