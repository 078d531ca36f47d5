//! Where the samples of a WebDataset shard lie, and the index file that says so.
//!
//! A shard `NAME.tar` with an index `NAME.tar.idx` beside it opens at once; without one, or with one that was made for another
//! time of writing or for other class names, all its headers are read each time. A shard of another size than its index states
//! is refused, because it may be cut short. An index that only seems to belong to its shard, because size and time of both are
//! the same, is found out by the headers and labels of each sample when that is read.
//! [`pack`](crate::pack::pack) writes the indexes of its shards; [`write_indexes`] writes those of shards that other tools
//! made.

pub(crate) mod format;
mod labels;
pub(crate) mod remarks;
pub(crate) mod scan;
mod seal;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use clsa_files::{folder_of, remove_abandoned, write_whole};

use crate::address::{is_address, sibling};
use crate::error::{DataError, Fault};
use crate::in_order::all_or_first_error;
use crate::object::{Object, Opener, Reader};
use crate::pattern;
use crate::printable::printable_path;
use crate::split::Split;
use crate::text::{MAX_LIST, decode_text};
use format::ShardIndex;
use labels::names_digest;
use scan::scan;
use seal::{is_sealed, seal};

/// Samples of a shard that are compared with its index when it is opened.
const LOOKED_AT: usize = 4;

/// Name of the index of a shard.
fn index_name(shard: &Path) -> OsString {
    let mut name = shard.file_name().unwrap_or_default().to_owned();
    name.push(".idx");
    name
}

/// Path of the index of a shard.
fn index_path(shard: &Path) -> PathBuf {
    sibling(shard, &index_name(shard))
}

/// What is known of a shard when it is opened.
pub(crate) struct OpenShard {
    pub object: Object,
    pub index: ShardIndex,
    /// Whether the index was made earlier, so that a sample is only to be trusted when its digest is the same.
    from_file: bool,
    /// Whether there is an index file that is not used, because it was made for an earlier shard or other class names.
    pub is_stale: bool,
}

impl OpenShard {
    /// Opens a shard by its index file, or else by all its headers. What those of an object say is kept, so that they are read
    /// once.
    pub(crate) fn open(object: Object, classes: &[String], opener: &Opener) -> Result<Self, DataError> {
        let is_stale = match read_index(&object, classes, opener)? {
            Beside::Index(index) => return Ok(Self { object, index: *index, from_file: true, is_stale: false }),
            Beside::Stale => true,
            Beside::Nothing => false,
        };
        let kept = object.kept(KEPT).and_then(|bytes| ShardIndex::from_bytes(&bytes).ok());
        let kept = kept.filter(|index| index.size == object.len() && is_of_names(index, classes));
        let index = match kept {
            Some(index) => index,
            None => {
                let index = scan(&object, classes)?;
                object.keep(KEPT, &index.to_bytes())?;
                index
            }
        };
        Ok(Self { object, index, from_file: false, is_stale })
    }

    pub(crate) fn path(&self) -> &Path {
        self.object.path()
    }

    /// Checks that headers and labels of a sample are those that its index was made from.
    pub(crate) fn check(&self, shard: &mut Reader, sample: usize) -> io::Result<()> {
        if !self.from_file || is_sealed(shard, &self.index, sample)? {
            return Ok(());
        }
        let index = printable_path(index_path(self.path()));
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the shard is another than {index} was made for; delete that"),
        ))
    }
}

/// Name under which the index of an object is kept on this machine.
const KEPT: &str = "index";

/// What is beside a shard.
enum Beside {
    /// An index that was made for the shard as it is now.
    Index(Box<ShardIndex>),
    /// One that was made for an earlier shard or for other class names, or has an old form.
    Stale,
    Nothing,
}

/// The index file of a shard.
fn read_index(shard: &Object, classes: &[String], opener: &Opener) -> Result<Beside, DataError> {
    let path = index_path(shard.path());
    // A sample takes 1024 bytes of the shard, and what the index has of its name and labels hardly more than the shard.
    let most = shard.len().saturating_mul(4).saturating_add(1 << 20);
    let Some(bytes) = opener.read_beside(shard.path(), &index_name(shard.path()), most)? else {
        return Ok(Beside::Nothing);
    };
    if ShardIndex::is_old(&bytes) {
        return Ok(Beside::Stale);
    }
    let index = ShardIndex::from_bytes(&bytes).map_err(|reason| Fault::Index.at(&path, reason))?;
    if shard.len() != index.size {
        let (size, expected) = (shard.len(), index.size);
        let reason =
            format!("has {size} bytes, but its index was made for {expected}; if the shard is whole, delete the index");
        return Err(Fault::Index.at(shard.path(), reason));
    }
    let is_of_time = shard.modified().is_none_or(|modified| modified == index.modified);
    // The times of two files can be the same: a few samples tell at once, each one when it is read. Of an object the first
    // one has to do, because each may be far away.
    let looked_at = if shard.modified().is_some() { LOOKED_AT } else { 1 };
    let is_of_shard = || {
        let mut reader = shard.reader().map_err(|error| shard.error(error))?;
        let mut samples = (0..looked_at).map(|at| at * index.len().saturating_sub(1) / (LOOKED_AT - 1));
        let sealed = index.len() == 0 || samples.all(|sample| is_sealed(&mut reader, &index, sample).unwrap_or(false));
        shard.failure().map_or(Ok(sealed), |failure| Err(failure.into()))
    };
    let is_of_shard: Result<bool, DataError> =
        if is_of_names(&index, classes) && is_of_time { is_of_shard() } else { Ok(false) };
    Ok(if is_of_shard? { Beside::Index(index.into()) } else { Beside::Stale })
}

/// Whether the labels of an index became numbers by these names, if by any.
fn is_of_names(index: &ShardIndex, classes: &[String]) -> bool {
    index.classes == 0 || index.classes == names_digest(classes)
}

/// Writes the index of a shard beside it and returns it. `classes` are the names that `.cls` files may hold for
/// numbers.
pub(crate) fn write_scanned(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let (object, path) = (Opener::default().open(shard)?, index_path(shard));
    let mut index = scan(&object, classes)?;
    seal(&object, &mut index).map_err(DataError::read(shard))?;
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
    if is_address(pattern) {
        let reason = "an index is written beside its shard on this machine alone; make it there, and copy both";
        return Err(Fault::Output.at(pattern, reason));
    }
    let opener = Opener::default();
    // Each split by the names that it is opened with.
    let split = |split| -> Result<(Vec<PathBuf>, Vec<String>), DataError> {
        let files = pattern::files(pattern, "tar", split, &opener)?;
        let names = class_names(&files, &opener)?;
        Ok((files, names))
    };
    let train = split(Split::Train)?;
    let test = match split(Split::Test) {
        Ok(test) => Some(test),
        Err(DataError::NoSplit(_)) => None,
        Err(error) => return Err(error),
    };
    let splits = std::iter::once(&train).chain(&test);
    let shards: Vec<(&PathBuf, &[String])> =
        splits.flat_map(|(files, names)| files.iter().map(|file| (file, &names[..]))).collect();
    let folders: BTreeSet<&Path> = shards.iter().map(|(shard, _)| folder_of(shard)).collect();
    for folder in folders {
        remove_abandoned(folder).map_err(DataError::write(folder))?;
    }
    let done = AtomicU64::new(0);
    let samples = all_or_first_error(&shards, |(shard, classes)| {
        let index = write_scanned(shard, classes)?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, shards.len() as u64);
        Ok::<usize, DataError>(index.len())
    })?;
    Ok(IndexReport { shards: shards.len(), samples: samples.into_iter().sum() })
}

/// Name of the file beside the shards that names the classes, one per line.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// The names of the classes beside the first shard; empty without that file.
pub(crate) fn class_names(shards: &[PathBuf], opener: &Opener) -> Result<Vec<String>, DataError> {
    let Some(first) = shards.first() else { return Ok(Vec::new()) };
    let Some(bytes) = opener.read_beside(first, CLASSES_FILE.as_ref(), MAX_LIST)? else { return Ok(Vec::new()) };
    let text =
        decode_text(&bytes).map_err(|reason| Fault::Unsupported.at(sibling(first, CLASSES_FILE.as_ref()), reason))?;
    Ok(text.trim_end().lines().map(|line| line.trim_end().to_string()).collect())
}
