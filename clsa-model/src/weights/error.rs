//! Why a weight file cannot be read or written, before the file's name is put in front.

use crate::error::ModelError;
use std::io;
use std::path::Path;

/// What is wrong with a weight file.
#[derive(Debug)]
pub(super) enum WeightFileError {
    /// The rest of the sentence that starts with the file's name.
    Content(String),
    /// The file system, while the file was written.
    Write(io::Error),
}

impl WeightFileError {
    pub fn new(reason: impl Into<String>) -> Self {
        Self::Content(reason.into())
    }

    pub fn about(self, path: &Path) -> ModelError {
        let path = path.display().to_string();
        match self {
            Self::Content(reason) => ModelError::WeightFile { path, reason },
            Self::Write(source) => ModelError::Write { path, source },
        }
    }
}

pub(super) fn fail<T>(reason: impl Into<String>) -> Result<T, WeightFileError> {
    Err(WeightFileError::new(reason))
}

impl From<io::Error> for WeightFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::new("is truncated"),
            _ => Self::new(format!("cannot be read ({error})")),
        }
    }
}

impl From<zip::result::ZipError> for WeightFileError {
    fn from(error: zip::result::ZipError) -> Self {
        match error {
            zip::result::ZipError::Io(error) => error.into(),
            error => Self::new(format!("is truncated or damaged ({error})")),
        }
    }
}

impl From<safetensors::SafeTensorError> for WeightFileError {
    fn from(error: safetensors::SafeTensorError) -> Self {
        Self::new(format!("is truncated or no safetensors file ({error})"))
    }
}

impl From<candle_core::Error> for WeightFileError {
    fn from(error: candle_core::Error) -> Self {
        Self::new(format!("holds a tensor that cannot be taken over ({error})"))
    }
}
