//! Parts of objects that are kept on this machine, in a folder of bounded size.
//!
//! `CACHE/objects/DIGEST/NAME`: a folder for each version of an object, named by a digest of its address and version, with a
//! file for each block. Files appear whole, so that several processes may share the folder. What was not used for the longest
//! time is removed first; a file that another process has open stays readable to it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use clsa_files::{is_unfinished, remove_abandoned, write_whole};
use sha2::{Digest, Sha256};

use crate::error::DataError;

/// How old the time of use of a file may be: within that, using it again writes nothing.
const USED: Duration = Duration::from_secs(60);

/// A folder of kept parts.
pub(super) struct Cache {
    folder: PathBuf,
    most: u64,
    /// Bytes that may be written before the folder is looked through again.
    allowance: Mutex<u64>,
}

/// A file in the cache.
struct Kept {
    used: SystemTime,
    size: u64,
    path: PathBuf,
}

impl Cache {
    /// The cache in a folder, which is made where it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, most: u64) -> Result<Self, DataError> {
        let folder = folder.join("objects");
        fs::create_dir_all(&folder).map_err(DataError::write(&folder))?;
        Ok(Self { folder, most, allowance: Mutex::new(0) })
    }

    /// What is kept of the version of an object that `identity` names.
    pub fn entry(&self, identity: &str) -> PathBuf {
        self.folder.join(base16ct::lower::encode_string(&Sha256::digest(identity)))
    }

    /// Opens a kept file of this size; none if there is none.
    pub fn open_file(&self, entry: &Path, name: &str, size: u64) -> io::Result<Option<File>> {
        let file = match File::open(entry.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let metadata = file.metadata()?;
        if metadata.modified().ok().and_then(|time| time.elapsed().ok()).is_none_or(|age| age > USED) {
            let now = SystemTime::now();
            // On a folder that can only be read, what is used is removed as if it was not. Windows asks for a file open for writing.
            let _ = if cfg!(windows) {
                File::options().write(true).open(entry.join(name)).and_then(|file| file.set_modified(now))
            } else {
                file.set_modified(now)
            };
        }
        // A machine that lost its power may leave a name without content.
        Ok((metadata.len() == size).then_some(file))
    }

    /// The whole of a kept file; none if there is none.
    pub fn read(&self, entry: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Ok(metadata) = fs::metadata(entry.join(name)) else { return Ok(None) };
        let Some(mut file) = self.open_file(entry, name, metadata.len())? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Keeps a file, and removes others where there are too many bytes then.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, entry: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.make_room(bytes.len() as u64)?;
        // The folder of an entry without files may be removed at any moment.
        for _ in 0..3 {
            fs::create_dir_all(entry)?;
            match write_whole(&entry.join(name), bytes) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                written => return written,
            }
        }
        Err(io::Error::new(ErrorKind::NotFound, "the folder is removed again and again"))
    }

    /// Takes so many bytes off the allowance, which is made new by removing what was not used for the longest time.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if *allowance < bytes {
            // Other processes write too: the folder is looked through before much can have been added.
            let part = (self.most / 16).max(bytes);
            let (kept, mut files) = self.files()?;
            files.sort_by_key(|file| file.used);
            let mut excess = kept.saturating_add(part).saturating_sub(self.most);
            let mut refused = None;
            for Kept { size, path, .. } in files {
                if excess == 0 {
                    break;
                }
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        // It may be another user's: the next one goes in its place.
                        refused = refused.or(Some(error));
                        continue;
                    }
                    _ => excess = excess.saturating_sub(size),
                }
                if let Some(entry) = path.parent() {
                    // Only an empty one is removed.
                    let _ = fs::remove_dir(entry);
                }
            }
            if let Some(error) = refused.filter(|_| excess > 0) {
                return Err(error);
            }
            *allowance = part;
        }
        *allowance -= bytes.min(*allowance);
        Ok(())
    }

    /// The bytes of all files, and those that may be removed.
    fn files(&self) -> io::Result<(u64, Vec<Kept>)> {
        let (mut kept, mut files) = (0, Vec::new());
        let entries = match fs::read_dir(&self.folder) {
            // Somebody has removed the folder, which is made anew for the next file.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((kept, files)),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?.path();
            let Ok(names) = fs::read_dir(&entry) else { continue };
            let mut has_unfinished = false;
            for file in names {
                // What another process removes meanwhile is not there.
                let Ok(file) = file else { continue };
                let Ok(metadata) = file.metadata() else { continue };
                kept += metadata.len();
                if is_unfinished(&file.file_name()) {
                    has_unfinished = true;
                } else {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push(Kept { used, size: metadata.len(), path: file.path() });
                }
            }
            if has_unfinished {
                remove_abandoned(&entry)?;
            }
        }
        Ok((kept, files))
    }
}
