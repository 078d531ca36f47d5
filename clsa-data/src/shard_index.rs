//! Where the samples of a WebDataset shard lie, and the index file that says so.
//!
//! A shard `NAME.tar` with an index `NAME.tar.idx` beside it opens at once; without one, all its headers are read each time.
//! [`pack`](crate::pack::pack) writes the indexes of its shards; [`write_indexes`] writes those of shards that other tools
//! made.

pub(crate) mod format;
mod labels;
pub(crate) mod scan;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_files::write_whole;
use rayon::prelude::*;

use crate::error::{DataError, Fault};
use crate::pattern;
use crate::split::Split;
use format::ShardIndex;
use scan::scan;

/// Path of the index of a shard.
fn index_path(shard: &Path) -> PathBuf {
    let mut name = shard.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

/// The index of a shard: its index file, or else from all headers of the shard.
pub(crate) fn open_index(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let path = index_path(shard);
    if !path.is_file() {
        return scan(shard, classes);
    }
    let bytes = std::fs::read(&path).map_err(DataError::read(&path))?;
    let index = ShardIndex::from_bytes(&bytes).map_err(|reason| Fault::Index.at(&path, reason))?;
    let size = std::fs::metadata(shard).map_err(DataError::read(shard))?.len();
    if size != index.size {
        let expected = index.size;
        let reason =
            format!("has {size} bytes, but its index was made for {expected}; if the shard is whole, delete the index");
        return Err(Fault::Index.at(shard, reason));
    }
    Ok(index)
}

/// Writes the index of a shard beside it, for shards that other tools made. `classes` are the names that `.cls` files
/// may hold instead of numbers.
///
/// # Errors
/// [`DataError`] if the shard is not whole or the index cannot be written.
///
/// # Examples
/// ```no_run
/// clsa_data::shard_index::write_index("/data/shards/train-000.tar".as_ref(), &[])?;
/// # Ok::<(), clsa_data::DataError>(())
/// ```
pub fn write_index(shard: &Path, classes: &[String]) -> Result<(), DataError> {
    write_scanned(shard, classes).map(drop)
}

/// Writes the index of a shard and returns it.
fn write_scanned(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let (index, path) = (scan(shard, classes)?, index_path(shard));
    write_whole(&path, &index.to_bytes()).map_err(DataError::write(&path))?;
    Ok(index)
}

/// What [`write_indexes`] has indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IndexReport {
    /// Shards whose index was written.
    pub shards: usize,
    /// Samples in them.
    pub samples: usize,
}

/// Writes the index of every shard that the pattern of a source `wds:PATTERN` names, in all its splits, whether it has
/// one already or not. Calls `progress(done, of)` after each shard, from any thread.
///
/// # Errors
/// [`DataError`] if the pattern names no shards, one is not whole, or an index cannot be written.
///
/// # Examples
/// ```no_run
/// use clsa_data::shard_index::write_indexes;
///
/// let report = write_indexes("/data/laion/{00000..00511}.tar", &|done, of| println!("{done} of {of} shards"))?;
/// println!("{} samples", report.samples);
/// # Ok::<(), clsa_data::DataError>(())
/// ```
pub fn write_indexes(pattern: &str, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<IndexReport, DataError> {
    let mut shards = pattern::files(pattern, "tar", Split::Train)?;
    match pattern::files(pattern, "tar", Split::Test) {
        Ok(test) => shards.extend(test),
        Err(DataError::NoSplit(_)) => {}
        Err(error) => return Err(error),
    }
    let classes = class_names(&shards)?;
    let done = AtomicU64::new(0);
    let samples = shards.par_iter().map(|shard| {
        let index = write_scanned(shard, &classes)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, shards.len() as u64);
        Ok(index.len())
    });
    let samples = samples.collect::<Result<Vec<usize>, DataError>>()?.into_iter().sum();
    Ok(IndexReport { shards: shards.len(), samples })
}

/// Name of the file beside the shards that names the classes, one per line.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// The names of the classes beside the first shard; empty without that file.
pub(crate) fn class_names(shards: &[PathBuf]) -> Result<Vec<String>, DataError> {
    match shards.first().map(|shard| shard.with_file_name(CLASSES_FILE)) {
        Some(path) if path.is_file() => {
            let text = std::fs::read_to_string(&path).map_err(DataError::read(&path))?;
            Ok(text.lines().map(String::from).collect())
        }
        _ => Ok(Vec::new()),
    }
}
