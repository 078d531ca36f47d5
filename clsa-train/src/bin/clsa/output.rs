//! Files that a command is to write: what can be known of their names before the work.

use crate::failure::{Failure, request};
use std::path::Path;

/// Checks that a file can have this name: it is no folder, and its folder exists. `option` names it in the error. Removes what killed
/// commands have left unfinished beside it.
pub fn check(option: &str, path: &Path) -> Result<(), Failure> {
    let named = path.display();
    if path.is_dir() {
        return Err(request(format!("{option} {named}: this is a folder; name a file in it")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(request(format!("{option} {named}: there is no folder {}; make it first", folder.display())));
    }
    // Where the folder cannot be read, what was left does no harm.
    let _ = clsa_files::remove_abandoned(folder);
    Ok(())
}
