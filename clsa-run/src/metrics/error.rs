//! Records that cannot be written or read.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Records that cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that was written whole is not a record.
    #[error("{}: line {line} is damaged ({reason}); remove that line and repeat the command", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line's number, 1-based.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl MetricsError {
    /// Whether the file that was named is wrong, rather than the machine.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Io { .. } => false,
            Self::Damaged { .. } => true,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
