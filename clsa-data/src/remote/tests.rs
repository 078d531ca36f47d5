//! Objects read from a server of the tests' own, whole and with faults.

mod cache;
mod faults;
#[cfg(feature = "parquet")]
mod parquet;
mod reading;
#[path = "../../tests/object_server/mod.rs"]
mod server;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::settings::Settings;
use super::stores::Stores;
use crate::object::{Object, Opener};
use crate::sources::wds;
use crate::{DataError, Dataset, Limits, RemoteError, Sample, Source, Split, Transform};
use server::{Answer, Server};

/// Settings with which a test takes no longer than it must, and is not ended by a busy machine.
fn settings(cache: &Path) -> Settings {
    Settings {
        cache: cache.to_path_buf(),
        cache_bytes: 256 << 20,
        timeout: Duration::from_secs(60),
        retries: 4,
        backoff: Duration::from_millis(2),
        allow_http: false,
    }
}

fn opener(cache: &TempDir) -> Opener {
    Opener::with(Stores::with(settings(cache.path())))
}

/// The training split of shards over HTTP.
fn open(cache: &TempDir, pattern: &str) -> Result<Arc<dyn Dataset>, DataError> {
    wds::open(&opener(cache), pattern, Split::Train, Limits::default())
}

/// The training split of files on this machine.
fn local(source: String) -> Arc<dyn Dataset> {
    source.parse::<Source>().unwrap().open(Split::Train).unwrap()
}

fn remote_error(error: DataError) -> RemoteError {
    match error {
        DataError::Remote(error) => error,
        error => panic!("another error: {error}"),
    }
}

/// An object of so many bytes that look random, and its content.
fn noise(server: &Server, path: &str, len: usize) -> Vec<u8> {
    let mut word = crc32fast::hash(path.as_bytes());
    let mut next = || {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (word >> 24) as u8
    };
    let bytes: Vec<u8> = (0..len).map(|_| next()).collect();
    server.put(path, bytes.clone());
    bytes
}

/// Opens the object `a.bin` of a server.
fn open_object(cache: &TempDir, server: &Server) -> Object {
    opener(cache).open(format!("{}/a.bin", server.address()).as_ref()).unwrap()
}

fn content(object: &Object) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    object.reader()?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why an object cannot be read.
fn reading_error(object: &Object) -> RemoteError {
    remote_error(content(object).map_err(|error| object.error(error)).unwrap_err())
}

/// Shards of 24 images of random colors in three classes, two for training and one for testing, with names of the classes.
fn shards() -> TempDir {
    let root = TempDir::new().unwrap();
    for (shard, numbers) in [("train-000", 0..8u8), ("train-001", 8..16), ("val-000", 16..24)] {
        let mut archive = tar::Builder::new(Vec::new());
        for number in numbers {
            let mut png = std::io::Cursor::new(Vec::new());
            let color = |x: u32, y: u32| image::Rgb([number, (x * 7) as u8, (y * 5) as u8 ^ number]);
            image::RgbImage::from_fn(12, 9, color).write_to(&mut png, image::ImageFormat::Png).unwrap();
            let class = ["ant", "bee", "owl"][usize::from(number) % 3];
            for (name, bytes) in [("png", png.into_inner()), ("cls", class.into())] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                archive.append_data(&mut header, format!("{number:04}.{name}"), bytes.as_slice()).unwrap();
            }
        }
        std::fs::write(root.path().join(format!("{shard}.tar")), archive.into_inner().unwrap()).unwrap();
    }
    std::fs::write(root.path().join("classes.txt"), "ant\nbee\nowl\n").unwrap();
    root
}

fn write_indexed(root: &TempDir) {
    crate::shard_index::write_indexes(&root.path().display().to_string(), &|_, _| ()).unwrap();
}

/// All that a data set says of its samples; names without the folder.
fn samples(dataset: &dyn Dataset) -> Vec<(String, Option<u32>, Vec<u8>)> {
    let name = |index| dataset.name(index).rsplit("/train-").next().unwrap().to_owned();
    (0..dataset.len())
        .map(|index| (name(index), dataset.label(index).class(), dataset.encoded(index).unwrap().unwrap().bytes))
        .collect()
}

/// Keeps all pixels.
struct Pixels;

impl Transform for Pixels {
    type Batch = Vec<Vec<u8>>;
    type Slot<'a> = &'a mut Vec<u8>;

    fn allocate(&self, samples: usize) -> Self::Batch {
        vec![Vec::new(); samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Self::Batch) -> Vec<&'a mut Vec<u8>> {
        batch.iter_mut().collect()
    }

    fn apply(&self, sample: &Sample<'_>, slot: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        *slot = sample.image.as_raw().clone();
        Ok(())
    }
}
