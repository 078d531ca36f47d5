//! What can go wrong in this crate.

use std::fmt::Display;
use std::io;
use thiserror::Error;

/// An error of the model crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A GPU's kernels, its driver or its libraries failed.
    #[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
    #[error(transparent)]
    Gpu(#[from] clsa_cuda::GpuError),
    /// A configuration value is outside its range.
    #[error("{field} is {value}: {expected}")]
    Config {
        /// The field of [`ModelConfig`](crate::ModelConfig) or [`Compute`](crate::Compute), or the argument; what reads
        /// configurations knows the table that it is in.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What the field accepts.
        expected: String,
    },
    /// The environment variable `CLSA_KERNELS` names no instruction set of this processor.
    #[error(transparent)]
    InstructionSet(#[from] clsa_cpu::UnavailableInstructionSet),
    /// An input has another shape than the model takes.
    #[error("{what} has shape {got:?}: expected {expected}")]
    Shape {
        /// The input.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is accepted, in words.
        expected: String,
    },
    /// A backbone gave an operation what belongs to a pass of another engine.
    #[error("an activation belongs to a pass of another engine")]
    ForeignActivation,
    /// A file could not be opened.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A weight file could not be written.
    #[error("{path}: cannot be written ({source})")]
    Write {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A weight file is not what its name says, or is damaged.
    #[error("{path}: {reason}")]
    WeightFile {
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The tensors of a state dictionary differ from those of the model.
    #[error("the weights do not fit the model: {0}")]
    StateDict(String),
}

impl ModelError {
    /// A [`ModelError::Config`].
    pub(crate) fn config(field: &'static str, value: impl Display, expected: impl Into<String>) -> Self {
        Self::Config { field, value: value.to_string(), expected: expected.into() }
    }

    /// A [`ModelError::Shape`].
    pub(crate) fn shape(what: &'static str, got: &[usize], expected: impl Into<String>) -> Self {
        Self::Shape { what, got: got.to_vec(), expected: expected.into() }
    }

    /// Whether what was asked for is wrong (a configuration, a file, an input), so that asking again is of no use. Else the
    /// machine or the run failed.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Tensor(_) | Self::ForeignActivation => false,
            #[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
            Self::Gpu(_) => false,
            Self::Config { .. }
            | Self::InstructionSet(_)
            | Self::Shape { .. }
            | Self::WeightFile { .. }
            | Self::StateDict(_) => true,
            Self::Io { source, .. } | Self::Write { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
            ),
        }
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, ModelError>;
