//! Hashes that identify data sets and encoders by their content.

mod data_hash;
mod encoder_hash;

pub use data_hash::{data_hash, joined_hash};
pub use encoder_hash::encoder_hash;
