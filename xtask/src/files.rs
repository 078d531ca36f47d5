//! Files and folders, whose errors name them.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Names the file or folder that an error is of.
pub fn at(path: &Path) -> impl FnOnce(Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Makes a folder and those above it, unless they are there.
pub fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(at(folder))
}

/// Removes a folder and what is in it, where there is one.
pub fn remove_folder(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

/// Bytes of all files in a folder.
pub fn size_of(folder: &Path) -> Result<u64, String> {
    let mut size = 0;
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        size += if path.is_dir() { size_of(&path)? } else { fs::metadata(&path).map_err(at(&path))?.len() };
    }
    Ok(size)
}
