#![doc = include_str!("../README.md")]

mod error;
mod evaluation;
mod features;
mod knn;
mod linear;
mod logistic_regression;
mod metrics;
mod run;

pub use clsa_augment::CenterCrop as EvalTransform;
pub use error::EvalError;
pub use evaluation::{Chance, EncoderResult, Evaluation, ProtocolResult, encoder_hash};
pub use features::{Features, check_labels, extract, raw_pixels};
pub use knn::{KnnConfig, KnnResult, knn};
pub use linear::{LinearConfig, LinearProgress, LinearResult, linear};
pub use logistic_regression::{LogisticRegressionConfig, LogisticRegressionResult, logistic_regression};
pub use metrics::{Accuracy, ClassAccuracy, Figure, Predictions};
pub use run::{DataTable, EvalTable, KnnTable, Run, RunConfig, TrainTable, ViewsTable};
