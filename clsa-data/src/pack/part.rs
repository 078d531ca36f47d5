//! The folder that shards are in until all of them are whole. Its writer holds a lock on it, so that one that was killed is told
//! from one that lives.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clsa_files::{is_at, is_unfinished};

use crate::error::{DataError, Fault};
use crate::shard_index::CLASSES_FILE;
use crate::split::Split;

/// The folder `OUT.part`, which this alone writes.
pub(super) struct Part {
    pub path: PathBuf,
    /// Whether what a killed packing had left there was removed.
    pub took_over: bool,
    /// None where folders cannot be locked.
    _lock: Option<File>,
}

/// What became of locking a folder.
#[cfg_attr(not(unix), allow(dead_code, reason = "no folder is locked there"))]
enum Lock {
    Held(File),
    /// By somebody else.
    InUse,
    /// The system or the file system cannot lock folders.
    Unknown,
}

impl Part {
    /// Makes the folder, or takes over what a killed packing has left. Where folders cannot be locked, nothing is taken over.
    ///
    /// # Errors
    /// [`DataError`] if another packing is writing it, it holds anything that no packing writes, or it cannot be written.
    pub(super) fn begin(out: &Path) -> Result<Self, DataError> {
        let path = path(out);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(DataError::write(parent))?;
        }
        loop {
            let made = match fs::create_dir(&path) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                Err(error) => return Err(DataError::write(&path)(error)),
            };
            let lock = match lock(&path)? {
                Lock::Held(lock) if !is_at(&lock, &path) => continue,
                Lock::Held(lock) => Some(lock),
                Lock::InUse => {
                    let reason = "is being written by another process; wait until that ends, or name another folder";
                    return Err(Fault::Output.at(path, reason));
                }
                Lock::Unknown if made => None,
                Lock::Unknown => {
                    let reason = "is left from packing that was interrupted; delete it first";
                    return Err(Fault::Output.at(path, reason));
                }
            };
            if !made {
                clear(&path)?;
            }
            return Ok(Self { path, took_over: !made, _lock: lock });
        }
    }
}

/// The name of the folder until it is whole.
fn path(out: &Path) -> PathBuf {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Removes what a packing writes; nothing where there is anything else.
fn clear(folder: &Path) -> Result<(), DataError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::write(folder))? {
        let entry = entry.map_err(DataError::write(folder))?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !entry.file_name().to_str().is_some_and(is_of_packing) {
            let reason = format!(
                "holds {}, which no packing has written; move it away, or name another folder",
                entry.file_name().to_string_lossy()
            );
            return Err(Fault::Output.at(folder, reason));
        }
        files.push(entry.path());
    }
    files.iter().try_for_each(|file| fs::remove_file(file).map_err(DataError::write(file)))
}

/// Whether a file has the name of one that packing writes.
fn is_of_packing(name: &str) -> bool {
    let shard = name.strip_suffix(".idx").unwrap_or(name).strip_suffix(".tar");
    let is_shard = |shard: &str| {
        shard.split_once('-').is_some_and(|(split, number)| {
            Split::ALL.iter().any(|known| known.to_string() == split)
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    name == CLASSES_FILE || is_unfinished(name.as_ref()) || shard.is_some_and(is_shard)
}

/// Locks a folder itself, so that nothing in it need be removed at the end.
#[cfg(unix)]
fn lock(folder: &Path) -> Result<Lock, DataError> {
    use std::fs::TryLockError;

    if !folder.is_dir() || folder.is_symlink() {
        return Err(Fault::Output.at(folder, "is not a folder; move it away, or name another one"));
    }
    let file = File::open(folder).map_err(DataError::write(folder))?;
    Ok(match file.try_lock() {
        Ok(()) => Lock::Held(file),
        Err(TryLockError::WouldBlock) => Lock::InUse,
        Err(TryLockError::Error(_)) => Lock::Unknown,
    })
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn lock(_: &Path) -> Result<Lock, DataError> {
    Ok(Lock::Unknown)
}
