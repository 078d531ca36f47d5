#![doc = include_str!("../README.md")]

mod argument;
mod bank;
mod candidates;
mod check;
mod cpu;
#[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
mod cuda;
mod ddm_targets;
mod embeddings;
mod engine;
mod error;
mod exact;
mod f64_pass;
mod in_batch;
mod kernels;
mod keys_and_bank;
mod loss;
mod matrix;
mod output;
mod own_keys;
mod parts;
mod pending;
mod portable;
mod statistics;
mod terms;

pub use argument::Argument;
pub use bank::MemoryBank;
pub use candidates::{CandidateSet, Candidates, InBatch};
pub use candle_core;
pub use clsa_cpu;
pub use ddm_targets::DdmTargets;
pub use engine::Backend;
pub use error::LossError;
pub use loss::ClsaLoss;
pub use output::LossOutput;
pub use pending::PendingLoss;
