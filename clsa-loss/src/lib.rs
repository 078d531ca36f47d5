//! InfoNCE and DDM in one streaming pass over the bank.
mod bank;
mod candidates;
mod check;
mod error;
mod in_batch;
mod loss;
mod portable;
mod statistics;
mod views;

pub use bank::MemoryBank;
pub use candidates::{CandidateSet, Candidates, InBatch};
pub use error::LossError;
pub use loss::{ClsaLoss, Implementation, LossOutput};
