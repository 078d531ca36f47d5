//! The error of a source or a run as a whole.

use std::io;
use std::path::{Path, PathBuf};

use crate::printable::{printable, printable_path};
use crate::remote_error::RemoteError;
use crate::sample_error::{SampleError, names_nothing};
use crate::split::Split;

/// Why a source is refused, or why a loader stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The text of a source begins with no kind that this crate knows.
    #[error("source `{}`: is no known kind; a source is one of {forms}", printable(text))]
    UnknownKind {
        /// The text as given.
        text: String,
        /// The forms of all kinds.
        forms: String,
    },
    /// The text of a source names a kind and nothing that it could read.
    #[error("source `{}`: needs a path: {form}", printable(text))]
    NoPath {
        /// The text as given.
        text: String,
        /// What is expected, such as `imagefolder:PATH`.
        form: String,
    },
    /// The options in the text of a source are wrong.
    #[error("source `{}`: {}", printable(text), printable(reason))]
    Options {
        /// The text as given.
        text: String,
        /// Which option is wrong, its value, and what is expected.
        reason: String,
    },
    /// A file or folder cannot be used as the source that it was named as, or cannot be written to.
    #[error("{}: {}", printable_path(path), printable(reason))]
    Refused {
        /// The file or folder at fault, or the pattern.
        path: PathBuf,
        /// What is wrong with it, for programs.
        fault: Fault,
        /// What is wrong with it, for people.
        reason: String,
    },
    /// The source has no test split; nothing is wrong with it otherwise.
    #[error(transparent)]
    NoSplit(#[from] NoSplit),
    /// A file or folder cannot be read.
    #[error("{}: {error}", printable_path(path))]
    Read {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// An object on another machine cannot be read.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A file or folder cannot be written.
    #[error("{}: {error}", printable_path(path))]
    Write {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The source needs an optional feature that this build leaves out.
    #[error(
        "source `{}` needs the cargo feature `{feature}`, which this program was built without; build it with \
         `--features {feature}`",
        printable(text)
    )]
    FeatureOff {
        /// The source as given.
        text: String,
        /// The feature to switch on.
        feature: &'static str,
    },
    /// A setting is out of range.
    #[error("{field}: {reason}")]
    Config {
        /// Name of the field of [`LoaderConfig`](crate::LoaderConfig) or [`PackOptions`](crate::pack::PackOptions).
        field: &'static str,
        /// Its value and what is expected.
        reason: String,
    },
    /// A sample is bad and [`OnError::Stop`](crate::OnError::Stop) was asked for.
    #[error("bad sample, and on_error is \"stop\": {0}")]
    BadSample(#[source] SampleError),
    /// The loader has met more bad samples than [`max_bad_fraction`](crate::LoaderConfig::max_bad_fraction) allows.
    #[error("{bad} of {samples} samples are bad, more than the allowed {:.3} %; the last one: {}", 100.0 * limit, printable(last))]
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
    #[error("{}: {reason}", printable(name))]
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

/// What is wrong with a file or folder that [`DataError::Refused`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing that can be read is there, or a pattern matches no file.
    Missing,
    /// It is there, but it is not laid out as this kind of data set.
    Layout,
    /// It is laid out as this kind of data set, but holds no image.
    Empty,
    /// It is cut short, or its content makes no sense.
    Damaged,
    /// It is, or has beside it, an index that is damaged or was made for another shard.
    Index,
    /// Labels or names of classes contradict one another.
    Labels,
    /// The pattern itself is wrong.
    Pattern,
    /// It makes sense, but this crate does not read it: it is too large, of another type, or its name is not UTF-8.
    Unsupported,
    /// Nothing can be written there.
    Output,
}

impl Fault {
    /// The error that `path` has this fault.
    pub(crate) fn at(self, path: impl Into<PathBuf>, reason: impl Into<String>) -> DataError {
        DataError::Refused { path: path.into(), fault: self, reason: reason.into() }
    }
}

/// Why a source has no test split; [`Splits::test`](crate::Splits::test) holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", printable_path(path), printable(reason))]
#[non_exhaustive]
pub struct NoSplit {
    /// The file or folder of the source.
    pub path: PathBuf,
    /// What is missing.
    pub reason: String,
}

impl NoSplit {
    /// The source at `path` has no test split for this reason, in one sentence without its subject.
    pub fn new(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl DataError {
    /// Whether what was asked for is at fault (a source, a setting), rather than the machine, the images or this program.
    pub fn is_request(&self) -> bool {
        match self {
            Self::UnknownKind { .. }
            | Self::NoPath { .. }
            | Self::Options { .. }
            | Self::Refused { .. }
            | Self::NoSplit(_)
            | Self::FeatureOff { .. }
            | Self::Config { .. } => true,
            Self::Read { error, .. } => names_nothing(error),
            Self::Remote(error) => error.is_request(),
            Self::Write { .. }
            | Self::BadSample(_)
            | Self::TooManyBad { .. }
            | Self::Transform { .. }
            | Self::Panicked { .. } => false,
        }
    }

    /// The source at `path` lacks a split: without one to train on, it is not this kind of data set.
    pub(crate) fn no_split(split: Split, path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        let (path, reason) = (path.into(), reason.into());
        match split {
            Split::Train => Fault::Layout.at(path, reason),
            Split::Test => NoSplit::new(path, reason).into(),
        }
    }

    /// Turns a failure to read `path` into a [`DataError::Read`].
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| DataError::Read { path, error }
    }

    /// Turns a failure to write `path` into a [`DataError::Write`].
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| DataError::Write { path, error }
    }
}
