//! The settings of the protocol for VOC 2007.

use serde::{Deserialize, Serialize};

/// Settings of [`voc07`](super::voc07()).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voc07Config {
    /// Passes over the training images, in each of which an image shows one of its ten crops. Default 100.
    pub epochs: u64,
    /// Learning rate of the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Of several the one is taken that
    /// has the highest mean average precision on a held-out part of the training images; then all of them are trained
    /// on. Default 0.03, 0.1, 0.3, 1, 3, 10.
    pub lr: Vec<f64>,
    /// Part of the training images that is held out while the learning rate is chosen. Default 0.2.
    pub held_out: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step. Default 256.
    pub batch_size: usize,
    /// Seed of weights, order, choice of crops and the held-out part.
    pub seed: u64,
}

impl Default for Voc07Config {
    fn default() -> Self {
        Self {
            epochs: 100,
            lr: vec![0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
            held_out: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            seed: 0,
        }
    }
}
