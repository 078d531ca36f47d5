//! Why a weight file is refused, before the file's name is put in front.

use crate::error::ModelError;
use std::path::Path;

/// The rest of the sentence that starts with the file's name.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl Refusal {
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    pub fn about(self, path: &Path) -> ModelError {
        ModelError::WeightFile { path: path.display().to_string(), reason: self.0 }
    }
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(reason))
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::new("is truncated"),
            _ => Self::new(format!("cannot be read ({error})")),
        }
    }
}

impl From<zip::result::ZipError> for Refusal {
    fn from(error: zip::result::ZipError) -> Self {
        match error {
            zip::result::ZipError::Io(error) => error.into(),
            error => Self::new(format!("is truncated or damaged ({error})")),
        }
    }
}

impl From<safetensors::SafeTensorError> for Refusal {
    fn from(error: safetensors::SafeTensorError) -> Self {
        Self::new(format!("is truncated or no safetensors file ({error})"))
    }
}

impl From<candle_core::Error> for Refusal {
    fn from(error: candle_core::Error) -> Self {
        Self::new(format!("holds a tensor that cannot be taken over ({error})"))
    }
}
