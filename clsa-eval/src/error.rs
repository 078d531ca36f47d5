//! What can go wrong in this crate.

use std::path::PathBuf;
use thiserror::Error;

/// An error of the evaluation crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A sample has not exactly one class.
    #[error(
        "{sample} has not one class: knn, linear, linear-features and finetune need images with one class each in both \
         splits, voc07 images with several; only retrieval needs no labels"
    )]
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
    /// A sample is not labelled as VOC's are.
    #[error("{sample} is not labelled with the presence of every class: voc07 needs such images, as voc2007:PATH has")]
    NotMultiLabel {
        /// Name of the sample.
        sample: String,
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
        /// Name of the setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it accepts.
        expected: &'static str,
    },
    /// Logistic regression did not find weights.
    #[error("logistic regression with regularisation {lambda} failed: {reason}")]
    Optimizer {
        /// The regularisation.
        lambda: f64,
        /// What the optimiser said.
        reason: String,
    },
    /// Training a classifier left the finite numbers.
    #[error("the loss is not finite in epoch {epoch} at learning rate {lr}: use a smaller one")]
    Diverged {
        /// Learning rate.
        lr: f64,
        /// Epoch, 0-based.
        epoch: u64,
    },
    /// A run, or a file of it, is not what it was named as.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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

impl EvalError {
    /// Whether what was asked for is at fault (weights, data, settings), rather than the machine or this program.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Tensor(_) | Self::Io { .. } | Self::Optimizer { .. } | Self::Size { .. } => false,
            Self::Model(error) => !matches!(error, clsa_model::ModelError::Tensor(_)),
            _ => true,
        }
    }
}
