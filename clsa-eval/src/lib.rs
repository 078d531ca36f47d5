//! Evaluation of frozen encoders: features, k-NN, linear probes and what their figures are worth.
//!
//! [`extract`] turns images into [`Features`] with the evaluation-mode backbone of an encoder; [`raw_pixels`] gives the
//! baseline without one. [`knn`] and [`logistic_regression`] classify features and return [`Predictions`], which
//! [`Accuracy::of`] turns into figures with confidence intervals.

mod error;
mod features;
mod knn;
mod logistic_regression;
mod metrics;

pub use clsa_augment::CenterCrop as EvalTransform;
pub use error::EvalError;
pub use features::{Features, extract, raw_pixels};
pub use knn::{KnnConfig, KnnResult, knn};
pub use logistic_regression::{LogisticRegressionConfig, LogisticRegressionResult, logistic_regression};
pub use metrics::{Accuracy, ClassAccuracy, Figure, Predictions};
