//! Symbolic links, where there are any.

#[cfg(unix)]
pub use std::os::unix::fs::symlink;

/// Elsewhere none is made: NVIDIA's packages, whose libraries the links are for, are Linux's.
#[cfg(not(unix))]
pub fn symlink(_: &std::path::Path, _: &std::path::Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
