#![doc = include_str!("../README.md")]

mod bank;
mod candidates;
mod check;
mod cpu;
mod error;
mod in_batch;
mod kernels;
mod loss;
mod matrix;
mod portable;
mod statistics;
mod views;
mod wide;

pub use bank::MemoryBank;
pub use candidates::{CandidateSet, Candidates, InBatch};
pub use error::LossError;
pub use loss::{ClsaLoss, Implementation, LossOutput};
