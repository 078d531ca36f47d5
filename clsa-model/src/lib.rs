//! ResNets, projection head and momentum pair on Candle, with CPU kernels beside the portable operations.

mod config;
mod cpu;
mod encoder;
mod error;
mod head;
pub mod kernels;
mod momentum;
mod ops;
mod params;
mod portable;
mod resnet;
mod storage;
mod update;
pub mod weights;

pub use config::{Arch, Backend, Compute, ModelConfig, Precision, Stem};
pub use encoder::{Encoder, Pass};
pub use error::{ModelError, Result};
pub use momentum::MomentumPair;
pub use ops::Mode;
pub use params::{Buffer, Gradients, Parameter};
pub use resnet::Stage;
pub use update::SgdUpdate;
