//! What a model is: architecture, width, stem, head; and how it is computed.

use crate::error::{ModelError, Result};
use serde::{Deserialize, Serialize};

/// The residual networks of torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// Basic blocks, one per stage: the smallest network of the family, for small images and demonstrations.
    Resnet10,
    /// Basic blocks, 2-2-2-2.
    Resnet18,
    /// Basic blocks, 3-4-6-3.
    Resnet34,
    /// Bottlenecks, 3-4-6-3.
    Resnet50,
    /// Bottlenecks, 3-4-23-3.
    Resnet101,
    /// Bottlenecks, 3-8-36-3.
    Resnet152,
    /// ResNet-50 with bottlenecks twice as wide inside.
    #[serde(rename = "wide_resnet50_2")]
    WideResnet50x2,
}

impl Arch {
    /// Every architecture, smallest first.
    pub const ALL: [Self; 7] = [
        Self::Resnet10,
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::Resnet152,
        Self::WideResnet50x2,
    ];

    /// The name as torchvision spells it, which is also how presets spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet10 => "resnet10",
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::Resnet152 => "resnet152",
            Self::WideResnet50x2 => "wide_resnet50_2",
        }
    }

    /// Residual blocks in each of the four stages.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet10 => [1, 1, 1, 1],
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 | Self::WideResnet50x2 => [3, 4, 6, 3],
            Self::Resnet101 => [3, 4, 23, 3],
            Self::Resnet152 => [3, 8, 36, 3],
        }
    }

    /// Whether the blocks are bottlenecks (1x1, 3x3, 1x1) rather than basic (3x3, 3x3).
    pub fn bottleneck(self) -> bool {
        !matches!(self, Self::Resnet10 | Self::Resnet18 | Self::Resnet34)
    }

    /// Channels of a block's output over the stage's base width.
    pub fn expansion(self) -> usize {
        if self.bottleneck() { 4 } else { 1 }
    }

    /// Width of the inner 3x3 convolution of a bottleneck over the stage's base width.
    pub fn inner_width(self) -> usize {
        if self == Self::WideResnet50x2 { 2 } else { 1 }
    }
}

impl std::str::FromStr for Arch {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| ModelError::Config {
            key: "model.arch",
            value: name.to_owned(),
            expected: format!("use one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The backbone.
    pub arch: Arch,
    /// Multiple of the backbone's base width, 64 channels: 0.25 gives 16, 2 gives 128.
    pub width: f64,
    /// The first layers.
    pub stem: Stem,
    /// Size of the embedding that the projection head gives (paper: 128).
    pub dim: usize,
    /// Start each residual branch at zero (the last batch norm of each block has weight 0; Goyal et al. 2017).
    pub zero_init_residual: bool,
}

impl Default for ModelConfig {
    /// The paper's encoder: ResNet-50 with a 128-dimensional embedding.
    fn default() -> Self {
        Self { arch: Arch::Resnet50, width: 1.0, stem: Stem::Imagenet, dim: 128, zero_init_residual: false }
    }
}

impl ModelConfig {
    /// Channels of the first stage's base width: 64 times [`Self::width`], rounded.
    pub fn base_width(&self) -> usize {
        (64.0 * self.width).round() as usize
    }

    /// Size of the pooled features before the head: 2048 for ResNet-50.
    pub fn feature_dim(&self) -> usize {
        self.base_width() * 8 * self.arch.expansion()
    }

    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// Names the key that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !(self.width.is_finite() && (0.0625..=16.0).contains(&self.width)) {
            return Err(ModelError::Config {
                key: "model.width",
                value: self.width.to_string(),
                expected: "use a multiple between 0.0625 and 16".to_owned(),
            });
        }
        if self.dim == 0 || self.dim > 65_536 {
            return Err(ModelError::Config {
                key: "model.dim",
                value: self.dim.to_string(),
                expected: "use a size between 1 and 65536".to_owned(),
            });
        }
        Ok(())
    }
}

/// Which implementation of the operations computes a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// CPU kernels where they apply (CPU device), portable operations elsewhere.
    #[default]
    Auto,
    /// Candle operations only: any device and any floating-point type, differentiable by Candle.
    Portable,
    /// This crate's CPU kernels.
    Cpu,
}

/// The arithmetic of a pass. Parameters and statistics are f32 (f64 for [`Precision::F64`]) whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision, for comparisons: portable backend only.
    F64,
    /// Activations and products in bfloat16, sums in f32.
    Bf16,
}

/// How an encoder is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// Which implementation.
    pub backend: Backend,
    /// Which arithmetic.
    pub precision: Precision,
    /// Batch norm over this many equal groups of the batch in training, which equals as many ranks (1: the whole batch).
    pub bn_splits: usize,
}

impl Default for Compute {
    fn default() -> Self {
        Self { backend: Backend::Auto, precision: Precision::F32, bn_splits: 1 }
    }
}
