#![doc = include_str!("../README.md")]

mod bank;
mod candidates;
mod check;
mod cpu;
mod error;
mod exact;
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

/// The name of the instruction set that the loss computes with on this processor, as `CLSA_KERNELS` has it.
///
/// # Errors
/// `CLSA_KERNELS` names none that exists here.
pub fn cpu_kernels() -> Result<String, LossError> {
    Ok(format!("{:?}", kernels::Kernels::detect()?))
}
