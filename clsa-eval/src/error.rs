//! What can go wrong in this crate.

use thiserror::Error;

/// An error of the evaluation crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A sample has not exactly one class.
    #[error(
        "{sample} has no class label: knn, linear, linear-features and finetune need labelled images in both splits"
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
        "class number {class} is in the test images but not in the training images: no protocol could ever name it"
    )]
    UnknownClass {
        /// Number of the class.
        class: u32,
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
