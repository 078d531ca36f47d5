//! What can go wrong in this crate.

use std::error::Error as StdError;
use std::fmt::Display;
use std::path::PathBuf;
use thiserror::Error;

/// An error of the evaluation crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A sample has not exactly one class.
    #[error("{sample} does not have exactly one class")]
    NoClass {
        /// Name of the sample.
        sample: String,
    },
    /// The labels are all the same.
    #[error("the training images are all of one class: an accuracy needs at least two")]
    OneClass,
    /// A test sample is of a class that no training sample has.
    #[error(
        "class {} is in the test images but not in the training images: no protocol could ever name it",
        name.as_ref().map_or_else(|| format!("number {class}"), Clone::clone)
    )]
    UnknownClass {
        /// Number of the class.
        class: u32,
        /// Its name, where that is known.
        name: Option<String>,
    },
    /// A sample is not labeled as VOC's are.
    #[error("{sample} is not labeled with the presence of every class")]
    NotMultiLabel {
        /// Name of the sample.
        sample: String,
    },
    /// The images have no test split, or are not labeled as a protocol that was asked for needs it.
    #[error("{source}: {hint}")]
    UnfitData {
        /// What they lack.
        source: Box<EvalError>,
        /// Which protocols need what.
        hint: String,
    },
    /// A set of features without samples.
    #[error("there are no {0} images to evaluate on")]
    Empty(&'static str),
    /// Features of the two splits do not belong together, or a buffer does not match its labels.
    #[error("{what} has {got} values where {expected} are expected")]
    Size {
        /// The input.
        what: &'static str,
        /// Its size.
        got: usize,
        /// The size that is accepted.
        expected: usize,
    },
    /// Images are labeled for another number of classes than there are.
    #[error(
        "the {split} images are labeled for {labels} classes, where the training images name {classes}; give both splits the names of all"
    )]
    ClassCount {
        /// `training` or `test`.
        split: &'static str,
        /// Classes that a label says something of.
        labels: usize,
        /// Classes that have a name.
        classes: usize,
    },
    /// A feature is NaN or infinite.
    #[error("the features of {split} image {row} are not finite numbers: the weights are damaged or training diverged")]
    NotFinite {
        /// The split.
        split: &'static str,
        /// Row of the features.
        row: usize,
    },
    /// A setting is out of range.
    #[error("{key} is {value}: {expected}")]
    Setting {
        /// Name of the setting: the field of its configuration.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it accepts.
        expected: String,
    },
    /// Logistic regression did not find weights.
    #[error("logistic regression with regularization {lambda} failed: {reason}")]
    Optimizer {
        /// The regularization.
        lambda: f64,
        /// What the optimizer said.
        reason: String,
    },
    /// Training a classifier left the finite numbers.
    #[error("a loss or weight is not finite in epoch {epoch} at learning rate {lr}: use a smaller one")]
    Diverged {
        /// Learning rate.
        lr: f64,
        /// Epoch, 0-based.
        epoch: u64,
    },
    /// A file is not the evaluation, the features, the state of a training or the list that it is taken for.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A run is named twice.
    #[error("{}: this run is named twice; name each once", path.display())]
    NamedTwice {
        /// Its folder.
        path: PathBuf,
    },
    /// Weights are damaged, or not those of the encoder.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: clsa_model::ModelError,
    },
    /// A protocol from outside this crate failed.
    #[error("{protocol}: {source}")]
    Protocol {
        /// Its name.
        protocol: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder is not a run, or a file of a run is damaged.
    #[error(transparent)]
    Run(Box<clsa_run::RunError>),
    /// The records of a run are damaged.
    #[error(transparent)]
    Metrics(#[from] clsa_run::MetricsError),
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] clsa_data::DataError),
    /// An image cannot be read.
    #[error(transparent)]
    Sample(#[from] clsa_data::SampleError),
    /// An image cannot be transformed.
    #[error("{sample}: {source}")]
    Transform {
        /// Name of the sample.
        sample: String,
        /// Why.
        source: clsa_augment::AugmentError,
    },
    /// The encoder failed.
    #[error(transparent)]
    Model(#[from] clsa_model::ModelError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl From<clsa_run::RunError> for EvalError {
    fn from(error: clsa_run::RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl EvalError {
    /// A [`EvalError::Setting`].
    pub fn setting(key: &'static str, value: impl Display, expected: impl Into<String>) -> Self {
        Self::Setting { key, value: value.to_string(), expected: expected.into() }
    }

    /// A [`EvalError::Setting`] if the value is 0.
    pub(crate) fn at_least_one(key: &'static str, value: u64) -> Result<(), Self> {
        if value == 0 { Err(Self::setting(key, value, "use at least 1")) } else { Ok(()) }
    }

    /// Whether it is about one image, so that the work can be done without that image. A store that fails says nothing of an image.
    pub fn is_of_image(&self) -> bool {
        match self {
            Self::Sample(error) => !error.is_of_store(),
            error => matches!(error, Self::Transform { .. }),
        }
    }

    /// Whether what was asked for is at fault (weights, data, settings), rather than the machine or this program.
    pub fn is_request(&self) -> bool {
        match self {
            Self::NoClass { .. }
            | Self::OneClass
            | Self::UnknownClass { .. }
            | Self::NotMultiLabel { .. }
            | Self::UnfitData { .. }
            | Self::Empty(_)
            | Self::ClassCount { .. }
            | Self::NotFinite { .. }
            | Self::Setting { .. }
            | Self::Diverged { .. }
            | Self::File { .. }
            | Self::NamedTwice { .. } => true,
            Self::Size { .. } | Self::Optimizer { .. } | Self::Protocol { .. } | Self::Io { .. } | Self::Tensor(_) => {
                false
            }
            Self::Run(error) => error.is_request(),
            Self::Metrics(error) => error.is_request(),
            Self::Data(error) => error.is_request(),
            Self::Sample(error) => error.is_request(),
            Self::Transform { source, .. } => source.is_request(),
            Self::Weights { source: error, .. } | Self::Model(error) => error.is_request(),
        }
    }
}
