#![doc = include_str!("../README.md")]

mod folder;

pub use folder::WholeFolder;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What the name of a file or folder begins with until it is whole.
const UNFINISHED_PREFIX: &str = ".clsa-writing-";
/// Letters and digits behind that.
const RANDOM: usize = 6;

/// Whether a file or folder has the name of one that is not whole yet, or was left so by a killed process.
///
/// # Examples
/// ```
/// assert!(clsa_files::is_unfinished(".clsa-writing-a1B2c3".as_ref()));
/// assert!(!clsa_files::is_unfinished(".clsa-writing-notes.txt".as_ref()));
/// ```
pub fn is_unfinished(name: &OsStr) -> bool {
    let random = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED_PREFIX));
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A file that is being written and takes its name when it is committed. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile<File>,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file that is to be at `path`, whose folder exists.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        // Made here, and not by the crate: with the permissions of any new file, and errors that do not tell its name.
        let make = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
        loop {
            let file =
                tempfile::Builder::new().prefix(UNFINISHED_PREFIX).rand_bytes(RANDOM).make_in(folder_of(path), make)?;
            // While this process lives, nobody takes the file for abandoned. Where files cannot be locked, nobody ever does.
            let _ = file.as_file().lock();
            // Before it was locked, somebody may have. The name is random: what has it is this file.
            if file.path().try_exists()? {
                return Ok(Self { file, path: path.to_owned() });
            }
        }
    }

    /// Syncs the file and gives it its name, in the place of an earlier one.
    ///
    /// # Errors
    /// The disk is full or fails, or the name cannot be taken.
    pub fn commit(mut self) -> io::Result<()> {
        sync(self.file.as_file())?;
        // Not by the crate, which on Windows replaces no file that is open, as the records of a run are, and knows no long paths.
        fs::rename(self.file.path(), &self.path)?;
        // Nothing has the name any more that would be removed.
        self.file.disable_cleanup(true);
        sync_folder(folder_of(&self.path))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_file_mut().seek(to)
    }
}

/// Writes a file of these bytes, in the place of an earlier one.
///
/// # Errors
/// The folder does not exist or cannot be written, or the disk is full or fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Syncs the finished file `unfinished` and renames it to `path`, in the same folder, in the place of an earlier file.
///
/// # Errors
/// There is no such file, the name cannot be taken, or the disk fails.
pub fn rename_whole(unfinished: &Path, path: &Path) -> io::Result<()> {
    sync_file(unfinished)?;
    fs::rename(unfinished, path)?;
    sync_folder(folder_of(path))
}

/// Brings what was written to an open file to the disk, where its file system can do that.
///
/// # Errors
/// The disk is full or fails.
pub fn sync(file: &File) -> io::Result<()> {
    let synced = file.sync_all();
    // Apple's systems are asked in a way of their own, which not every file system there knows.
    if cfg!(target_vendor = "apple") { where_it_can_be(synced) } else { synced }
}

/// Syncs a file that is closed.
fn sync_file(path: &Path) -> io::Result<()> {
    // Windows syncs only what is open for writing, which a file of others' making need not allow elsewhere.
    sync(&File::options().read(true).write(cfg!(windows)).open(path)?)
}

/// Whether an open file or folder is still the one of this name: before it was locked, its last holder may have removed it or given it
/// another.
#[cfg(unix)]
pub fn is_at(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: io::Result<fs::Metadata>| metadata.map(|m| (m.dev(), m.ino())).ok();
    id(open.metadata()) == id(fs::metadata(path))
}

/// Elsewhere what is open is not told from what has its name.
#[cfg(not(unix))]
pub fn is_at(_: &File, _: &Path) -> bool {
    true
}

/// Syncs a folder, where the system and the file system can do that: renames in it last only then.
fn sync_folder(folder: &Path) -> io::Result<()> {
    open_folder(folder).map_or(Ok(()), |folder| where_it_can_be(folder.sync_all()))
}

/// What is no failure of a disk, but of a file system that cannot sync (some of networks and of FUSE cannot folders, and on Apple's
/// systems not files either), is none.
fn where_it_can_be(synced: io::Result<()>) -> io::Result<()> {
    let cannot = |error: &io::Error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::Unsupported => true,
        // ENOTTY and ENOTSUP, which the standard library gives no kind there.
        _ => cfg!(target_vendor = "apple") && matches!(error.raw_os_error(), Some(25 | 45)),
    };
    match synced {
        Err(error) if cannot(&error) => Ok(()),
        synced => synced,
    }
}

/// Removes the unfinished files and folders that killed processes have left in a folder. Those that are being written
/// stay, and so do all of them on file systems without locks, and folders on systems that cannot lock those.
///
/// # Errors
/// The folder cannot be read, or such a file or folder cannot be removed.
pub fn remove_abandoned(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !is_unfinished(&entry.file_name()) {
            continue;
        }
        // It may take its name, or be removed by others, at any moment; some file systems look for it to tell its type.
        let Ok(kind) = entry.file_type() else { continue };
        let opened = match kind {
            kind if kind.is_file() => File::options().read(true).write(true).open(entry.path()).ok(),
            kind if kind.is_dir() => open_folder(&entry.path()),
            _ => None,
        };
        let Some(file) = opened else { continue };
        if file.try_lock().is_ok() {
            let remove = if kind.is_dir() { fs::remove_dir_all } else { fs::remove_file };
            if let Err(error) = remove(entry.path())
                && error.kind() != ErrorKind::NotFound
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Opens a folder as a file, where the system can do that.
fn open_folder(path: &Path) -> Option<File> {
    if cfg!(unix) { File::open(path).ok() } else { None }
}

/// The folder of a path; of a bare name, the current one.
///
/// # Examples
/// ```
/// use std::path::Path;
///
/// assert_eq!(clsa_files::folder_of(Path::new("views.png")), Path::new("."));
/// ```
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_takes_the_place_of_an_earlier_one_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_file_that_somebody_has_open_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"first").unwrap();
        let _open = File::options().append(true).open(&path).unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"second".to_vec(), vec!["a".to_owned()]));
    }

    #[test]
    fn an_abandoned_file_leaves_the_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_whole(&path, b"first").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(names(folder.path()).iter().any(|name| is_unfinished(name.as_ref())));
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn abandoned_files_are_removed_and_those_being_written_stay() {
        let folder = tempfile::tempdir().unwrap();
        remove_abandoned(&folder.path().join("none")).unwrap();
        fs::write(folder.path().join(".clsa-writing-aB3xYz"), b"half").unwrap();
        // Others may call theirs what they like.
        for name in [".writing-aB3xYz", ".clsa-writing-notes.txt", ".clsa-writing-"] {
            fs::write(folder.path().join(name), b"kept").unwrap();
        }
        let mut file = WholeFile::create(&folder.path().join("a")).unwrap();
        file.write_all(b"whole").unwrap();
        remove_abandoned(folder.path()).unwrap();
        file.commit().unwrap();
        let mut kept = names(folder.path());
        kept.sort();
        assert_eq!(kept, [".clsa-writing-", ".clsa-writing-notes.txt", ".writing-aB3xYz", "a"]);
    }

    /// Between the making of a file and its lock it looks abandoned.
    #[test]
    fn files_that_begin_while_abandoned_ones_are_removed_are_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let cleaner = || {
                while !done.load(Relaxed) {
                    remove_abandoned(folder.path()).unwrap();
                }
            };
            scope.spawn(cleaner);
            scope.spawn(cleaner);
            let kept = (0..500).try_fold(true, |kept, _| {
                let file = WholeFile::create(&folder.path().join("a"))?;
                let folder = WholeFolder::create(&folder.path().join("b"))?;
                std::thread::yield_now();
                io::Result::Ok(kept && file.file.path().exists() && folder.unfinished().exists())
            });
            done.store(true, Relaxed);
            assert!(kept.unwrap());
        });
    }

    #[test]
    fn a_file_that_grew_under_another_name_takes_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (part, path) = (folder.path().join("a.part"), folder.path().join("a"));
        write_whole(&path, b"first").unwrap();
        fs::write(&part, b"second").unwrap();
        rename_whole(&part, &path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"second".to_vec(), vec!["a".to_owned()]));
        assert_eq!(rename_whole(&part, &path).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[test]
    fn what_cannot_be_synced_is_passed_over_and_a_disk_that_fails_is_not() {
        // EINVAL, ENOSYS and EOPNOTSUPP; on Apple's systems also ENOTTY and ENOTSUP.
        let passed_over: &[i32] = if cfg!(target_vendor = "apple") { &[22, 78, 102, 25, 45] } else { &[22, 38, 95] };
        for &code in passed_over {
            assert!(where_it_can_be(Err(io::Error::from_raw_os_error(code))).is_ok(), "{code}");
        }
        // EIO and ENOSPC.
        for code in [5, 28] {
            let failed = where_it_can_be(Err(io::Error::from_raw_os_error(code)));
            assert_eq!(failed.unwrap_err().raw_os_error(), Some(code));
        }
        assert!(where_it_can_be(Ok(())).is_ok());
    }

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("views.png")), Path::new("."));
        assert_eq!(folder_of(Path::new("out/views.png")), Path::new("out"));
    }

    #[test]
    fn an_error_does_not_tell_the_name_that_the_file_has_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_whole(&folder.path().join("none/a"), b"").unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && !error.to_string().contains(UNFINISHED_PREFIX), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (whole, plain) = (folder.path().join("whole"), folder.path().join("plain"));
        write_whole(&whole, b"").unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&whole), mode(&plain));
    }
}
