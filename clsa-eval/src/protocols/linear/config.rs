//! The settings of the linear protocol.

use serde::{Deserialize, Serialize};

/// Settings of [`linear`](super::linear()); the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Passes over the training images. Default 100.
    pub epochs: u64,
    /// Learning rate of the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Of several the one is taken that
    /// classifies a held-out part of the training images best; then all of them are trained on. Default 10.
    pub lr: Vec<f64>,
    /// Part of each class's training images that is held out while the learning rate is chosen. Default 0.2.
    pub held_out: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step. Default 256.
    pub batch_size: usize,
    /// Area range of the random crops, which are of the test crop's size. Default 0.08 to 1 (torchvision's).
    pub scale: (f64, f64),
    /// Seed of weights, order, crops and the held-out part.
    pub seed: u64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            lr: vec![10.0],
            held_out: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            scale: (0.08, 1.0),
            seed: 0,
        }
    }
}
