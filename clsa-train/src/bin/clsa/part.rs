//! Which of the two encoders of a checkpoint.

use crate::failure::{Failure, request};
use candle_core::Tensor;
use clap::ValueEnum;
use clsa_model::weights::WeightFile;
use std::collections::HashMap;
use std::path::Path;

/// Which of the two encoders of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The trained one
    Query,
    /// Its moving average
    Key,
}

impl Part {
    /// The tensors of this encoder; `path` names the file where it has none.
    pub fn tensors<'a>(self, weights: &'a WeightFile, path: &Path) -> Result<&'a HashMap<String, Tensor>, Failure> {
        match self {
            Self::Query => Ok(&weights.tensors),
            Self::Key => {
                let missing = || request(format!("{}: has no key encoder; leave --encoder key out", path.display()));
                weights.key.as_ref().ok_or_else(missing)
            }
        }
    }
}
