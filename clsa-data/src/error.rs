//! The errors of this crate: one for a source or a run as a whole, one for a single sample.

use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::Split;

/// Why a source is refused, or why a loader stops.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The text of a source is not one this crate knows.
    #[error("source `{text}`: {reason}")]
    Source {
        /// The text as given.
        text: String,
        /// What is wrong with it and what is expected.
        reason: String,
    },
    /// A file or folder cannot be used as the source that it was named as.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The source has no test split; nothing is wrong with it otherwise.
    #[error("{}: {reason}", path.display())]
    NoSplit {
        /// The file or folder of the source.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The source needs an optional feature that this build leaves out.
    #[error(
        "source `{source_text}` needs the cargo feature `{feature}`, which this program was built without; build it with \
         `--features {feature}` (`cargo xtask` does so where the source is named on its command line)"
    )]
    FeatureOff {
        /// The source as given.
        source_text: String,
        /// The feature to switch on.
        feature: &'static str,
    },
    /// A setting of the loader is out of range.
    #[error("{key}: {reason}")]
    Config {
        /// Name of the field of [`crate::LoaderConfig`].
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A sample is bad and [`crate::OnError::Stop`] was asked for.
    #[error("bad sample, and on_error is \"stop\": {0}")]
    BadSample(#[source] SampleError),
    /// More samples are bad than [`crate::LoaderConfig::max_bad_fraction`] allows.
    #[error("{bad} of {samples} samples are bad, more than the allowed {:.3} %; the last one: {last}", 100.0 * limit)]
    TooManyBad {
        /// Bad samples met so far.
        bad: usize,
        /// Samples in the data set.
        samples: usize,
        /// The allowed part of the data set, in 0..=1.
        limit: f64,
        /// The reason of the last bad one.
        last: String,
    },
    /// The transform failed on a sample that was read and decoded well.
    #[error("{name}: {reason}")]
    Transform {
        /// Name of the sample.
        name: String,
        /// What the transform said.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A thread of the loader panicked: a defect of the transform or the data set.
    #[error("a loader thread panicked while it prepared batch {batch}")]
    Panicked {
        /// Index of the batch in its epoch.
        batch: usize,
    },
}

impl DataError {
    /// A [`DataError::Refused`] of `path`.
    pub(crate) fn refused(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        DataError::Refused { path: path.into(), reason: reason.into() }
    }

    /// The source at `path` lacks a split: without one to train on, it is wrong as a whole.
    pub(crate) fn no_split(split: Split, path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        let (path, reason) = (path.into(), reason.into());
        match split {
            Split::Train => DataError::Refused { path, reason },
            Split::Test => DataError::NoSplit { path, reason },
        }
    }

    /// Turns an I/O error on `path` into a [`DataError::Io`].
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| DataError::Io { path, error }
    }
}

/// Why one sample cannot be turned into an image.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Its bytes cannot be read: the file vanished, may not be read, or the archive ends early.
    #[error("{name}: cannot be read: {error}")]
    Read {
        /// Name of the sample.
        name: String,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// Its bytes are not an image that can be decoded.
    #[error("{name}: cannot be decoded: {reason}")]
    Decode {
        /// Name of the sample.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// The encoded sample is larger than [`crate::Limits::max_bytes`].
    #[error("{name}: {bytes} bytes are more than the limit of {limit}")]
    TooManyBytes {
        /// Name of the sample.
        name: String,
        /// Size of the encoded sample.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The image has more pixels than [`crate::Limits::max_pixels`].
    #[error("{name}: {width}x{height} pixels are more than the limit of {limit}")]
    TooManyPixels {
        /// Name of the sample.
        name: String,
        /// Width in pixels, from the header.
        width: u32,
        /// Height in pixels, from the header.
        height: u32,
        /// The limit.
        limit: u64,
    },
}
