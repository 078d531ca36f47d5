//! Files and folders that a command is to write: what can be known of their names before the work.

use crate::failure::{Failure, request};
use clsa_files::WholeFile;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Checks that a file can have this name: it is no folder, its folder exists, and a file can be made there. `option` names it in the
/// error. Removes what killed commands have left unfinished beside it.
pub fn check(option: &str, path: &Path) -> Result<(), Failure> {
    let named = path.display();
    // A path forgets a separator at its end.
    let is_of_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    if is_of_folder || path.is_dir() {
        return Err(request(format!("{option} {named}: this is a folder; name a file in it")));
    }
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::InvalidFilename) {
        return Err(request(format!("{option} {named}: this name is too long; use a shorter one")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(request(format!("{option} {named}: there is no folder {}; make it first", folder.display())));
    }
    // Where the folder cannot be read, what was left does no harm.
    let _ = clsa_files::remove_abandoned(folder);
    // It leaves nothing, and what is there stays.
    match WholeFile::create(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(request(format!("{option} {named}: no file can be made there ({error}); name one in another folder")))
        }
    }
}

/// Checks that a file's name ends as what is written into it does, so that no other file is replaced.
pub fn check_ending(option: &str, path: &Path, ending: &str) -> Result<(), Failure> {
    if path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending)) {
        return Ok(());
    }
    Err(request(format!("{option} {}: let the name end in .{ending}", path.display())))
}

/// Refuses to write over a file that is read.
pub fn check_is_no_input(option: &str, path: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    let Ok(file) = path.canonicalize() else { return Ok(()) };
    if inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| input == file)) {
        return Err(request(format!("{option} {}: this is an image that is read; name another file", path.display())));
    }
    Ok(())
}

/// Checks that a folder can have this name: there is no file of it.
pub fn check_folder(option: &str, path: &Path) -> Result<(), Failure> {
    match path.ancestors().find(|above| above.exists()) {
        Some(file) if !file.is_dir() => {
            let reason = format!("{} is a file; name another folder", file.display());
            Err(request(format!("{option} {}: {reason}", path.display())))
        }
        _ => Ok(()),
    }
}
