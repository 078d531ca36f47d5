//! What can go wrong in this crate.

use thiserror::Error;

/// An error of the model crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A configuration value is outside its range.
    #[error("{key} is {value}: {expected}")]
    Config {
        /// The configuration key, as it is written in a preset.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// What the key accepts.
        expected: String,
    },
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
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
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

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, ModelError>;
