//! What can be wrong with a configuration.

use super::Preset;
use std::path::PathBuf;
use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither a preset nor a readable file.
    #[error("{0}: this is neither a preset nor a .toml file; the presets are {names}", names = Preset::names())]
    UnknownPreset(String),
    /// A configuration file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A text that is not a configuration.
    #[error("{origin}: {reason}")]
    Parse {
        /// The preset or file.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// An override that cannot be applied.
    #[error("{text}: {reason}")]
    Override {
        /// The override, `KEY=VALUE`.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that is out of range or does not fit another one.
    #[error("{key} = {value}: {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it takes, and what to do.
        expected: String,
    },
    /// A value of `[model]` that is out of range.
    #[error("model.{0}")]
    Model(clsa_model::ModelError),
    /// A value of `[views]` that is out of range; its field begins with `views`.
    #[error(transparent)]
    Views(clsa_augment::AugmentError),
}

impl ConfigError {
    /// Whether what was asked for is wrong: always, as far as a configuration goes.
    pub fn is_request(&self) -> bool {
        true
    }
}

/// A text of several lines in one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
