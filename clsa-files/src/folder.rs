//! Folders whose files become whole together.

use crate::{RANDOM, UNFINISHED_PREFIX, folder_of, open_folder, sync_file, sync_folder};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A folder whose files are written somewhere beside and take their places together. Dropped before it is committed, it leaves
/// nothing.
///
/// A folder that is not there yet appears by one rename. Into one that is there the files are moved one by one, a file that is named
/// at the end last: without it, the folder is not finished.
///
/// # Examples
/// ```
/// use clsa_files::WholeFolder;
///
/// # let root = tempfile::tempdir()?;
/// let path = root.path().join("export");
/// let folder = WholeFolder::create(&path)?;
/// std::fs::write(folder.unfinished().join("weights"), b"1 2 3")?;
/// std::fs::write(folder.unfinished().join("README"), b"three numbers")?;
/// assert!(!path.exists());
/// folder.commit("README")?;
/// assert_eq!(std::fs::read(path.join("weights"))?, b"1 2 3");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct WholeFolder {
    unfinished: PathBuf,
    path: PathBuf,
    /// While it is locked, nobody takes the folder for abandoned. None where folders cannot be locked.
    _lock: Option<File>,
}

impl WholeFolder {
    /// Begins a folder that is to be at `path`. The folders above it are made.
    ///
    /// # Errors
    /// There is a file of this name, or a folder cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let within = match fs::metadata(path) {
            Ok(found) if found.is_dir() => path,
            Ok(_) => return Err(ErrorKind::NotADirectory.into()),
            Err(_) => {
                fs::create_dir_all(folder_of(path))?;
                folder_of(path)
            }
        };
        // Made here, and not by the crate, as files are.
        let make = |path: &Path| fs::create_dir(path);
        loop {
            let mut made =
                tempfile::Builder::new().prefix(UNFINISHED_PREFIX).rand_bytes(RANDOM).make_in(within, make)?;
            made.disable_cleanup(true);
            let unfinished = made.path().to_owned();
            let lock = open_folder(&unfinished).filter(|folder| folder.lock().is_ok());
            let folder = Self { unfinished, path: path.to_owned(), _lock: lock };
            // As for a file: before it was locked, somebody may have removed it.
            if folder.unfinished.try_exists()? {
                return Ok(folder);
            }
        }
    }

    /// Where its files are written until it is committed.
    pub fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// Syncs the files, all of which have to be closed, and gives them their places. Files of the same names are replaced, others
    /// stay.
    ///
    /// # Errors
    /// A file cannot be synced, a folder is there in a file's place, or the earlier file `last` cannot be removed; then nothing is moved.
    /// Or the folder cannot be written, or the disk fails; then the file `last` is not there, so that it does not look finished, unless
    /// the disk failed after all was done.
    pub fn commit(self, last: &str) -> io::Result<()> {
        sync_files(&self.unfinished)?;
        if !self.path.is_dir() {
            fs::rename(&self.unfinished, &self.path)?;
            return sync_folder(folder_of(&self.path));
        }
        let entries = fs::read_dir(&self.unfinished)?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = entries.collect::<io::Result<Vec<_>>>()?;
        names.sort_by_key(|name| (name == last, name.clone()));
        if names.iter().any(|name| self.path.join(name).is_dir()) {
            return Err(ErrorKind::IsADirectory.into());
        }
        match fs::remove_file(self.path.join(last)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => sync_folder(&self.path)?,
        }
        for name in names {
            fs::rename(self.unfinished.join(&name), self.path.join(&name))?;
        }
        sync_folder(&self.path)
    }
}

/// Syncs the files of a folder and of those within it, and then the folders: a rename must not last longer than what it names.
fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_files(&entry.path())?,
            kind if kind.is_file() => sync_file(&entry.path())?,
            _ => {}
        }
    }
    sync_folder(folder)
}

impl Drop for WholeFolder {
    fn drop(&mut self) {
        // Where it was committed, there is nothing of this name, or nothing in it.
        let _ = fs::remove_dir_all(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write(folder: &WholeFolder, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(folder.unfinished().join(name), text).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_fails_half_way_does_not_look_finished() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::create_dir(&path).unwrap();
        for name in ["card", "data"] {
            fs::write(path.join(name), "earlier").unwrap();
        }
        let folder = WholeFolder::create(&path).unwrap();
        write(&folder, &[("card", "later")]);
        // A folder cannot take the place of a file.
        fs::create_dir(folder.unfinished().join("data")).unwrap();
        assert!(folder.commit("card").is_err());
        assert!(!path.join("card").exists(), "{:?}", names(&path));
    }

    #[test]
    fn a_folder_appears_with_all_its_files_and_those_above_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let folder = WholeFolder::create(&path).unwrap();
        write(&folder, &[("one", "1"), ("two", "2")]);
        assert!(!path.exists());
        folder.commit("two").unwrap();
        assert_eq!((names(&path), names(&root.path().join("a"))), (vec!["one".into(), "two".into()], vec!["b".into()]));
    }

    #[test]
    fn a_folder_that_is_dropped_leaves_the_earlier_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        drop(WholeFolder::create(&path).unwrap());
        assert!(names(root.path()).is_empty());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("one"), "earlier").unwrap();
        let folder = WholeFolder::create(&path).unwrap();
        write(&folder, &[("one", "later")]);
        drop(folder);
        assert_eq!((names(&path), fs::read(path.join("one")).unwrap()), (vec!["one".into()], b"earlier".to_vec()));
    }

    #[test]
    fn files_of_an_earlier_folder_are_replaced_and_others_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::create_dir(&path).unwrap();
        for name in ["card", "mine", "weights"] {
            fs::write(path.join(name), "earlier").unwrap();
        }
        let folder = WholeFolder::create(&path).unwrap();
        write(&folder, &[("card", "later"), ("weights", "later")]);
        folder.commit("card").unwrap();
        assert_eq!(names(&path), ["card", "mine", "weights"]);
        for (name, text) in [("card", "later"), ("mine", "earlier"), ("weights", "later")] {
            assert_eq!(fs::read_to_string(path.join(name)).unwrap(), text);
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_stays_and_so_do_the_files_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::create_dir_all(path.join("weights/of mine")).unwrap();
        fs::write(path.join("card"), "earlier").unwrap();
        let folder = WholeFolder::create(&path).unwrap();
        write(&folder, &[("card", "later"), ("weights", "later")]);
        assert_eq!(folder.commit("card").unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(names(&path), ["card", "weights"]);
        assert_eq!(fs::read(path.join("card")).unwrap(), b"earlier");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_error_does_not_tell_the_name_that_the_folder_has_until_it_is_whole() {
        let error = WholeFolder::create(Path::new("/proc/export")).unwrap_err();
        assert!(error.raw_os_error().is_some() && !error.to_string().contains(UNFINISHED_PREFIX), "{error}");
    }

    #[test]
    fn a_file_is_no_folder() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "").unwrap();
        assert_eq!(WholeFolder::create(&root.path().join("a")).unwrap_err().kind(), ErrorKind::NotADirectory);
    }

    #[cfg(unix)]
    #[test]
    fn abandoned_folders_are_removed_and_those_being_written_stay() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join(".clsa-writing-abcDEF");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("half"), "").unwrap();
        let folder = WholeFolder::create(&root.path().join("a")).unwrap();
        crate::remove_abandoned(root.path()).unwrap();
        folder.commit("").unwrap();
        assert_eq!(names(root.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_folder() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let (whole, plain) = (root.path().join("whole"), root.path().join("plain"));
        WholeFolder::create(&whole).unwrap().commit("").unwrap();
        fs::create_dir(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&whole), mode(&plain));
    }
}
