//! The configuration of an encoder of this crate: architecture, width, stem and head.

use crate::arch::{Arch, Family};
use crate::error::{ModelError, Result};
use crate::head_config::HeadConfig;
use serde::{Deserialize, Serialize};

/// The first layers of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7x7 convolution of stride 2, then 3x3 max pooling of stride 2: for photographs.
    #[default]
    Imagenet,
    /// 3x3 convolution of stride 1 and no pooling: for images of 32 pixels or so (as in MoCo's and SimCLR's CIFAR runs).
    Cifar,
}

/// The shape of an encoder.
///
/// # Examples
///
/// ```
/// use clsa_model::{Arch, ModelConfig, Stem};
///
/// let config = ModelConfig { arch: Arch::Resnet18, stem: Stem::Cifar, ..ModelConfig::default() };
/// assert_eq!((config.feature_dim(), config.dim), (512, 128));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The backbone.
    pub arch: Arch,
    /// Multiple of the backbone's base width, 64 channels, from 0.0625 to 16: 0.25 gives 16 channels, 2 gives 128.
    pub width: f64,
    /// The first layers.
    pub stem: Stem,
    /// Size of the embedding that the projection head gives (paper: 128), from 1 to 65536.
    pub dim: usize,
    /// The layers between the features and the embedding.
    #[serde(skip_serializing_if = "is_default")]
    pub head: HeadConfig,
    /// Start each residual branch at zero (the last batch norm of each block has weight 0; Goyal et al. 2017).
    pub zero_init_residual: bool,
}

impl Default for ModelConfig {
    /// The paper's encoder: ResNet-50 with a 128-dimensional embedding.
    fn default() -> Self {
        Self {
            arch: Arch::Resnet50,
            width: 1.0,
            stem: Stem::Imagenet,
            dim: 128,
            head: HeadConfig::default(),
            zero_init_residual: false,
        }
    }
}

impl ModelConfig {
    /// Channels of the first stage's base width: 64 times [`Self::width`], rounded.
    pub fn base_width(&self) -> usize {
        (64.0 * self.width).round() as usize
    }

    /// Size of the pooled features before the head: 2048 for ResNet-50.
    pub fn feature_dim(&self) -> usize {
        match self.arch.family() {
            Family::ResNet(shape) => shape.channels(self.base_width(), 3),
        }
    }

    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !(0.0625..=16.0).contains(&self.width) {
            return Err(ModelError::config("width", self.width, "use a multiple between 0.0625 and 16"));
        }
        if self.dim == 0 || self.dim > 65_536 {
            return Err(ModelError::config("dim", self.dim, "use a size between 1 and 65536"));
        }
        self.head.validate()
    }
}

/// The paper's head is left out, so that the files of runs that have it stay what they were.
fn is_default(head: &HeadConfig) -> bool {
    *head == HeadConfig::default()
}
