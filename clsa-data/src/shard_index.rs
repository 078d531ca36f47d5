//! Where the samples of a WebDataset shard lie, and the index file that says so.
//!
//! A shard `NAME.tar` with an index `NAME.tar.idx` beside it opens at once; without one, or with one that was made before the
//! shard was written, all its headers are read each time. An index that only seems to belong to its shard, because size and
//! time of both are the same, is found out by the headers and labels of each sample when that is read.
//! [`pack`](crate::pack::pack) writes the indexes of its shards; [`write_indexes`] writes those of shards that other tools
//! made.

pub(crate) mod format;
mod labels;
pub(crate) mod remarks;
pub(crate) mod scan;
mod seal;

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use clsa_files::{remove_abandoned, write_whole};
use rayon::prelude::*;

use crate::error::{DataError, Fault};
use crate::pattern;
use crate::printable::printable_path;
use crate::split::Split;
use crate::text::{read_at_most, read_text};
use format::ShardIndex;
use labels::names_digest;
use scan::scan;
use seal::{is_sealed, seal};

/// Samples of a shard that are compared with its index when it is opened.
const LOOKED_AT: usize = 4;

/// Path of the index of a shard.
fn index_path(shard: &Path) -> PathBuf {
    let mut name = shard.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

/// What is known of a shard when it is opened.
pub(crate) struct OpenShard {
    pub path: PathBuf,
    pub index: ShardIndex,
    /// Whether the index was made earlier, so that a sample is only to be trusted when its digest is the same.
    from_file: bool,
    /// Whether there is an index file that is older than the shard.
    pub is_stale: bool,
}

impl OpenShard {
    /// Opens a shard by its index file, or else by all its headers.
    pub(crate) fn open(path: PathBuf, classes: &[String]) -> Result<Self, DataError> {
        if let Some(index) = read_index(&path, classes)? {
            return Ok(Self { path, index, from_file: true, is_stale: false });
        }
        let is_stale = index_path(&path).is_file();
        Ok(Self { index: scan(&path, classes)?, path, from_file: false, is_stale })
    }

    /// Checks that headers and labels of a sample are those that its index was made from.
    pub(crate) fn check(&self, shard: &mut File, sample: usize) -> io::Result<()> {
        if !self.from_file || is_sealed(shard, &self.index, sample)? {
            return Ok(());
        }
        let index = printable_path(index_path(&self.path));
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the shard is another than {index} was made for; delete that"),
        ))
    }
}

/// The index file of a shard; `None` if there is none that was made for the shard as it is now.
fn read_index(shard: &Path, classes: &[String]) -> Result<Option<ShardIndex>, DataError> {
    let path = index_path(shard);
    if !path.is_file() {
        return Ok(None);
    }
    let mut file = File::open(shard).map_err(DataError::read(shard))?;
    let metadata = file.metadata().map_err(DataError::read(shard))?;
    // A sample takes 1024 bytes of the shard, and what the index has of its name and labels hardly more than the shard.
    let bytes = read_at_most(&path, metadata.len().saturating_mul(4).saturating_add(1 << 20))?;
    if ShardIndex::is_old(&bytes) {
        return Ok(None);
    }
    let index = ShardIndex::from_bytes(&bytes).map_err(|reason| Fault::Index.at(&path, reason))?;
    if metadata.len() != index.size {
        let (size, expected) = (metadata.len(), index.size);
        let reason =
            format!("has {size} bytes, but its index was made for {expected}; if the shard is whole, delete the index");
        return Err(Fault::Index.at(shard, reason));
    }
    let is_of_names = index.classes == 0 || index.classes == names_digest(classes);
    let is_of_time = index.modified == modified(&metadata);
    // The times of two files can be the same: a few samples tell at once, each one when it is read.
    let mut first_last = (0..LOOKED_AT).map(|at| at * index.len().saturating_sub(1) / (LOOKED_AT - 1));
    let is_of_shard =
        index.len() == 0 || first_last.all(|sample| is_sealed(&mut file, &index, sample).unwrap_or(false));
    Ok((is_of_names && is_of_time && is_of_shard).then_some(index))
}

/// When a file was last written, in nanoseconds since 1970; 0 where that is not known.
fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
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
    let (mut index, path) = (scan(shard, classes)?, index_path(shard));
    seal(shard, &mut index).map_err(DataError::read(shard))?;
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
/// one already or not, and removes what a killed process has left of one. Calls `progress(done, of)` after each shard, from any
/// thread.
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
    // A name alone is in the folder that the process works in.
    let folder_of = |shard: &PathBuf| Path::new(".").join(shard.parent().unwrap_or(Path::new("")));
    let folders: BTreeSet<_> = shards.iter().map(folder_of).collect();
    for folder in folders {
        remove_abandoned(&folder).map_err(DataError::write(&folder))?;
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
            Ok(read_text(&path)?.trim_end().lines().map(|line| line.trim_end().to_string()).collect())
        }
        _ => Ok(Vec::new()),
    }
}
