//! Weights of other methods.

use crate::streams::say;
use clsa_model::weights::WeightFile;
use std::path::Path;

/// Says that what is not ours was left out, where a file has such a head or queue.
pub fn note(path: &Path, weights: &WeightFile) {
    if let [first, ..] = &weights.left_out[..] {
        let name = path.display();
        say!("note: {name}: {} and the like are none of CLSA's and are left out", first.escape_debug());
    }
}
