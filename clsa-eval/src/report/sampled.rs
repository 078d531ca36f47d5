//! Some of the images of a data set, and their features.

use crate::features::Features;
use clsa_data::{Dataset, Split};

/// Some images of a data set, and their features.
pub(super) struct Sampled<'a> {
    pub data: &'a dyn Dataset,
    pub split: Split,
    /// Number of each image in the data set.
    pub indices: Vec<usize>,
    pub features: Features,
}

/// Up to `count` rows.
pub(super) fn first_rows(features: &Features, count: usize) -> Features {
    let count = count.min(features.len());
    Features {
        values: features.values[..count * features.dim].to_vec(),
        dim: features.dim,
        labels: features.labels[..count].to_vec(),
    }
}
