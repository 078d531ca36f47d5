//! Files for parsers that read files: in memory where the system has such a place, and written anew for each input.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// What a function makes of a file of this name that holds the bytes.
pub fn with_file<R>(name: &str, bytes: &[u8], work: impl FnOnce(&Path) -> R) -> R {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("there is a place for a file")
        });
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the file can be written");
        work(&path)
    })
}
