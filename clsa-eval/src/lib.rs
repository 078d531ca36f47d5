#![doc = include_str!("../README.md")]

mod average_precision;
mod choice;
mod classifier;
mod data_hash;
mod error;
mod evaluation;
mod feature_file;
mod features;
mod finetune;
mod knn;
mod label_subset;
mod linear;
mod logistic_regression;
mod metrics;
mod random_crops;
#[cfg(feature = "report")]
mod report;
mod retrieval;
mod run;
mod stratified;
mod subset;
mod training_state;
mod voc07;

pub use average_precision::{AveragePrecision, ClassPrecision, Precisions, average_precision};
pub use clsa_augment::CenterCrop as EvalTransform;
pub use data_hash::{data_hash, joined_hash};
pub use error::EvalError;
pub use evaluation::{Chance, EncoderResult, Evaluation, Figures, ProtocolResult, encoder_hash, write_whole};
pub use feature_file::{FeatureFile, center_crops};
pub use features::{
    FeatureRows, Features, Labelled, check_labels, extract, extract_into, labels, raw_pixels, raw_pixels_into,
};
pub use finetune::{FinetuneConfig, FinetuneResult, finetune};
pub use knn::{KnnConfig, KnnResult, knn};
pub use label_subset::LabelSubset;
pub use linear::{LinearConfig, LinearResult, TrainingProgress, linear};
pub use logistic_regression::{LogisticRegressionConfig, LogisticRegressionResult, logistic_regression};
pub use metrics::{Accuracy, ClassAccuracy, Figure, Predictions};
#[cfg(feature = "report")]
pub use report::{Progress, Report, ReportOptions};
pub use retrieval::{
    RetrievalConfig, RetrievalPrecision, Retrieved, retrieval, retrieval_chance, retrieval_picture, retrieval_precision,
};
pub use run::{DataTable, EvalTable, KnnTable, Run, RunConfig, TrainTable, ViewsTable};
pub use voc07::{
    TEST_CROPS, TRAIN_CROPS, Voc07Config, Voc07Result, check_presences, extract_crops_into, presences, voc07,
};
