//! The settings of fine-tuning.

use serde::{Deserialize, Serialize};

/// Settings of [`finetune`](super::finetune()).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// Passes over the labeled images. Default 20.
    pub epochs: u64,
    /// Learning rate of the backbone in the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Default 0.01.
    pub lr: f64,
    /// Learning rate of the classifier, likewise. Default 0.2.
    pub head_lr: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step, or all labeled images where these are fewer; an epoch leaves out a last batch that is not full.
    /// Default 256.
    pub batch_size: usize,
    /// Area range of the random crops, which are of the test crop's size. Default 0.08 to 1 (torchvision's).
    pub scale: (f64, f64),
    /// Seed of the classifier, order and crops.
    pub seed: u64,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            lr: 0.01,
            head_lr: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            scale: (0.08, 1.0),
            seed: 0,
        }
    }
}
