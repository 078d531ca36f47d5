//! Files and folders that one process writes, and that it holds a lock on meanwhile.

use std::fs::File;
use std::path::Path;

/// Whether an open file or folder is still the one of this name: its last holder may have given it another since.
#[cfg(unix)]
pub(crate) fn is_at(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: std::io::Result<std::fs::Metadata>| metadata.map(|m| (m.dev(), m.ino())).ok();
    id(open.metadata()) == id(std::fs::metadata(path))
}

/// Elsewhere what is open is not told from what has its name.
#[cfg(not(unix))]
pub(crate) fn is_at(_: &File, _: &Path) -> bool {
    true
}
