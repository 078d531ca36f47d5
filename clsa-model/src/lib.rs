#![doc = include_str!("../README.md")]

pub mod backbone;
pub mod head;
pub mod kernels;
pub mod weights;

mod arch;
mod batch_count;
mod batch_in_parts;
mod compute;
mod config;
mod cpu;
#[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
mod cuda;
mod encoder;
mod engine;
mod error;
mod family;
mod feature_stage;
mod gradients;
mod graph_backward;
mod head_config;
mod momentum;
mod network;
mod parameters;
mod pass;
mod portable;
mod storage;
mod tape;
#[cfg(test)]
mod test_network;
mod update;

pub use candle_core;
pub use candle_nn;

pub use arch::Arch;
pub use backbone::{Mode, Stage};
pub use batch_in_parts::BatchInParts;
pub use compute::{Backend, Compute, EngineKind, Precision};
pub use config::{ModelConfig, Stem};
pub use encoder::Encoder;
pub use error::{ModelError, Result};
pub use feature_stage::FeatureStage;
pub use gradients::Gradients;
pub use head::{HeadConfig, MlpConfig};
pub use momentum::MomentumPair;
pub use parameters::{Parameter, RunningStatistic};
pub use pass::{Complete, Pass};
pub use update::SgdUpdate;
