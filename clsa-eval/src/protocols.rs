//! Protocols: ways to say what an encoder's features are worth.
//!
//! Each is a function on features or images ([`knn()`], [`logistic_regression()`], [`linear()`], [`finetune()`], [`voc07()`],
//! [`corruptions()`], [`retrieval()`]), and a [`Protocol`] that runs it on a [`Workbench`] for the trained encoder and what it is compared
//! with. [`PROTOCOLS`] lists the protocols of this crate; one of your own is a further implementation of the trait.

mod checks;
mod corruptions;
mod data;
mod feature_set;
mod finetune;
mod knn;
mod label_subset;
mod linear;
mod linear_features;
mod protocol;
mod retrieval;
mod retrieval_picture;
mod retrieved;
mod run;
mod settings;
mod table;
mod train_test;
mod voc07;
mod workbench;
mod workbench_cache;

pub use crate::choice::Tried;
pub use crate::logistic_regression::{LogisticClassifier, LogisticRegressionConfig, logistic_regression};
pub use checks::check;
pub use corruptions::{Corruptions, CorruptionsResult, corruptions};
pub use data::{EvalData, SplitLabels};
pub use feature_set::{FeatureSet, LabeledFeatures};
pub use finetune::{Finetune, FinetuneConfig, FinetuneResult, finetune};
pub use knn::{Knn, KnnConfig, KnnResult, knn};
pub use label_subset::LabelSubset;
pub use linear::{Linear, LinearConfig, LinearResult, linear};
pub use linear_features::LinearFeatures;
pub use protocol::{LabelKind, Needs, Outcome, Picture, Protocol, Variant};
pub use retrieval::{Retrieval, RetrievalConfig, retrieval, same_class_share};
pub use retrieval_picture::{MOST_PICTURED, retrieval_picture};
pub use retrieved::Retrieved;
pub use run::FinishedProtocol;
pub use settings::{Setting, SettingKind, SettingValue, Settings};
pub use table::{DEFAULT_PROTOCOLS, PROTOCOLS, named, suitable_instead};
pub use train_test::TrainTest;
pub use voc07::{Voc07, Voc07Config, Voc07Result, voc07};
pub use workbench::{ComparedEncoder, Workbench, WorkbenchConfig};
