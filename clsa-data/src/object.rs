//! What sources of large files read: a file of this machine, or an object of a store on another one, at any place in it.
//!
//! A file is read as the system reads it. An object is read in blocks that are kept on this machine (`remote`).

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::address::{is_address, sibling};
use crate::error::DataError;
use crate::in_order::{all_or_first_error, pool};
#[cfg(feature = "remote")]
use crate::remote::{RemoteObject, RemoteReader, Stores};
use crate::remote_error::{RemoteError, RemoteFault};
use crate::text::at_most;

/// Objects that are opened at once: what that takes is mostly waiting.
const OPENED_AT_ONCE: usize = 16;

/// Opens files and objects; those of one store share its connections and credentials.
#[derive(Default)]
pub(crate) struct Opener {
    #[cfg(feature = "remote")]
    stores: Stores,
}

/// A file or an object that has been opened, with its size at that time.
#[derive(Clone)]
pub(crate) struct Object {
    path: PathBuf,
    len: u64,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// Opened anew for each reader, so that thousands of shards hold no thousands of handles.
    File {
        /// In nanoseconds since 1970; 0 where that is not known.
        modified: u64,
    },
    #[cfg(feature = "remote")]
    Remote(std::sync::Arc<RemoteObject>),
}

/// Reads an [`Object`] from one place on.
pub(crate) enum Reader {
    File(File),
    #[cfg(feature = "remote")]
    Remote(RemoteReader),
}

impl Opener {
    /// One with settings that are not of the environment.
    #[cfg(all(test, feature = "remote"))]
    pub fn with(stores: Stores) -> Self {
        Self { stores }
    }

    /// Opens what a path or an address names.
    pub fn open(&self, path: &Path) -> Result<Object, DataError> {
        if is_address(path) {
            return self.open_remote(path);
        }
        let metadata = std::fs::metadata(path).map_err(DataError::read(path))?;
        let place = Place::File { modified: modified(&metadata) };
        Ok(Object { path: path.to_path_buf(), len: metadata.len(), place })
    }

    #[cfg(feature = "remote")]
    fn open_remote(&self, path: &Path) -> Result<Object, DataError> {
        let object = self.stores.open(&path.to_string_lossy())?;
        Ok(Object { path: path.to_path_buf(), len: object.len(), place: Place::Remote(object.into()) })
    }

    #[cfg(not(feature = "remote"))]
    fn open_remote(&self, path: &Path) -> Result<Object, DataError> {
        Err(crate::error::Fault::Unsupported
            .at(path, "is read with the cargo feature `remote` alone; build with `--features remote`"))
    }

    /// The addresses that a pattern with `*` and `?` names, in order.
    #[cfg(feature = "remote")]
    pub fn list(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        self.stores.list(pattern)
    }

    /// As it is without the feature `remote`.
    #[cfg(not(feature = "remote"))]
    pub fn list(&self, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
        self.open_remote(pattern.as_ref()).map(|_| Vec::new())
    }

    /// Whether these files, which a pattern names with one of the words of a split, are those of the split: braces name files
    /// whether they are there or not. Of objects the first one tells.
    pub fn may_be_there(&self, files: &[PathBuf]) -> Result<bool, DataError> {
        match files.first() {
            Some(first) if is_address(first) => match self.open(first) {
                Ok(_) => Ok(true),
                Err(DataError::Remote(error)) if error.fault == RemoteFault::Missing => Ok(false),
                Err(error) => Err(error),
            },
            Some(_) | None => Ok(files.iter().any(|file| file.is_file())),
        }
    }

    /// The content of a file that may be beside another one; none where it is not. It has no reason to have more than `most`
    /// bytes.
    pub fn read_beside(&self, path: &Path, name: &OsStr, most: u64) -> Result<Option<Vec<u8>>, DataError> {
        let beside = sibling(path, name);
        if !is_address(path) && !beside.is_file() {
            return Ok(None);
        }
        let object = match self.open(&beside) {
            Err(DataError::Remote(error)) if error.is_request() => return Ok(None),
            object => object?,
        };
        at_most(object.reader(), &beside, most, |error| object.error(error)).map(Some)
    }

    /// Opens what the paths name, in order: files one after the other, objects several at once.
    pub fn open_all<T: Send>(
        &self,
        paths: &[PathBuf],
        open: impl Fn(Object) -> Result<T, DataError> + Sync,
    ) -> Result<Vec<T>, DataError> {
        let opened = |path: &PathBuf| self.open(path).and_then(&open);
        if !paths.first().is_some_and(is_address) {
            return paths.iter().map(opened).collect();
        }
        pool(OPENED_AT_ONCE)?.install(|| all_or_first_error(paths, opened))
    }
}

impl Object {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// When a file was last written, in nanoseconds since 1970 (0: not known); none for an object, whose copies have other times.
    pub fn modified(&self) -> Option<u64> {
        match &self.place {
            Place::File { modified } => Some(*modified),
            #[cfg(feature = "remote")]
            Place::Remote(_) => None,
        }
    }

    /// Reads from the beginning.
    pub fn reader(&self) -> io::Result<Reader> {
        match &self.place {
            Place::File { .. } => File::open(&self.path).map(Reader::File),
            #[cfg(feature = "remote")]
            Place::Remote(object) => Ok(Reader::Remote(RemoteReader::new(object.clone()))),
        }
    }

    /// Brings a part that is soon read as a whole, by several requests at once. What does not come is seen when it is read.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "only tables are read in parts of many blocks"))]
    pub fn fetch_ahead(&self, range: std::ops::Range<u64>) {
        match &self.place {
            Place::File { .. } => {
                let _ = range;
            }
            #[cfg(feature = "remote")]
            Place::Remote(object) => object.fetch_all(range),
        }
    }

    /// What was kept of an object for others who open it; none where nothing was, or of a file.
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        match &self.place {
            Place::File { .. } => {
                let _ = name;
                None
            }
            #[cfg(feature = "remote")]
            Place::Remote(object) => object.kept(name),
        }
    }

    /// Keeps something for others who open the object; of a file, nothing.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        match &self.place {
            Place::File { .. } => {
                let _ = (name, bytes);
                Ok(())
            }
            #[cfg(feature = "remote")]
            Place::Remote(object) => object.keep(name, bytes),
        }
    }

    /// Why the store has failed to give a part of the object; none of a file, or while all has come.
    pub fn failure(&self) -> Option<RemoteError> {
        match &self.place {
            Place::File { .. } => None,
            #[cfg(feature = "remote")]
            Place::Remote(object) => object.failure(),
        }
    }

    /// The error of a source that a failure to read is.
    pub fn error(&self, error: io::Error) -> DataError {
        self.failure().map_or_else(|| DataError::read(&self.path)(error), DataError::Remote)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            #[cfg(feature = "remote")]
            Self::Remote(reader) => reader.read(buffer),
        }
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            #[cfg(feature = "remote")]
            Self::Remote(reader) => reader.seek(to),
        }
    }
}

/// When a file was last written, in nanoseconds since 1970; 0 where that is not known.
fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}
