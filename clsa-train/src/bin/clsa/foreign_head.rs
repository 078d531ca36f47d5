//! Weights of other methods.

use crate::streams::say;
use clsa_model::weights::WeightFile;
use std::path::Path;

/// Says that a head which is not ours was left out, where a file has one.
pub fn note(path: &Path, weights: &WeightFile) {
    if let [first, ..] = &weights.left_out[..] {
        let name = path.display();
        say!("note: {name}: its head ({} and the like) is none of CLSA's and is left out", first.escape_debug());
    }
}
