#![doc = include_str!("../README.md")]

mod choice;
pub mod embeddings;
mod error;
pub mod evaluation;
pub mod features;
pub mod hashes;
mod logistic_regression;
pub mod metrics;
mod nearest;
mod observer;
mod online_probe;
pub mod protocols;
mod random_crops;
mod random_subset;
#[cfg(feature = "report")]
pub mod report;
mod resumable;
mod sgd_classifier;
mod stratified;
mod subset;

pub use candle_core;
pub use clsa_augment;
pub use clsa_data;
pub use clsa_model;
pub use clsa_run;
pub use error::EvalError;
pub use nearest::{Neighbor, nearest};
pub use observer::{Observer, Silent};
pub use online_probe::OnlineProbe;
pub use random_subset::random_subset;
pub use subset::Subset;
