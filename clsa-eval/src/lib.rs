#![doc = include_str!("../README.md")]

mod average_precision;
mod data_hash;
mod error;
mod evaluation;
mod features;
mod knn;
mod linear;
mod logistic_regression;
mod metrics;
mod retrieval;
mod run;

pub use average_precision::{AveragePrecision, ClassPrecision, average_precision};
pub use clsa_augment::CenterCrop as EvalTransform;
pub use data_hash::data_hash;
pub use error::EvalError;
pub use evaluation::{Chance, EncoderResult, Evaluation, Figures, ProtocolResult, encoder_hash};
pub use features::{Features, check_labels, extract, raw_pixels};
pub use knn::{KnnConfig, KnnResult, knn};
pub use linear::{LinearConfig, LinearProgress, LinearResult, linear};
pub use logistic_regression::{LogisticRegressionConfig, LogisticRegressionResult, logistic_regression};
pub use metrics::{Accuracy, ClassAccuracy, Figure, Predictions};
pub use retrieval::RetrievalPrecision;
pub use run::{DataTable, EvalTable, KnnTable, Run, RunConfig, TrainTable, ViewsTable};
