//! Backbones: what turns images into features, and how one of your own is added.
//!
//! A [`Backbone`] is written against [`Ops`], the operations of a pass. One that uses only [`Ops::conv_bn`], [`Ops::max_pool`]
//! and, once and last, [`Ops::global_avg_pool`] runs on every engine, in the CPU kernels too. One that needs others, such as
//! attention, computes them in Candle's own ([`Ops::candle`]) and says so in [`Architecture::needs_candle`]; its encoders are
//! computed by the portable engine. Both can be joined in one backbone, such as a convolutional stem before attention
//! ([`Ops::tensor`]).
//!
//! An [`Architecture`] is what backbones are built from; [`ModelConfig`](crate::ModelConfig) is the one of this crate, and
//! `Arch` its table. An encoder, a momentum pair and whatever trains them take any architecture.
//!
//! # Examples
//!
//! A network of one convolution:
//!
//! ```
//! use clsa_model::backbone::{Architecture, Backbone, Builder, ConvBn, ConvBnConfig, Ops, Stage};
//! use clsa_model::candle_core::{DType, Device, Tensor};
//! use clsa_model::{Compute, Encoder, ModelError};
//!
//! #[derive(Debug)]
//! struct Small {
//!     unit: ConvBn,
//!     stages: Vec<Stage>,
//! }
//!
//! impl Backbone for Small {
//!     fn stages(&self) -> &[Stage] {
//!         &self.stages
//!     }
//!
//!     fn forward(&self, ops: &mut dyn Ops, images: &Tensor, _stage: usize) -> Result<Tensor, ModelError> {
//!         let x = ops.image(images)?;
//!         let x = ops.conv_bn(&x, &self.unit, None, true)?;
//!         ops.global_avg_pool(&x)
//!     }
//! }
//!
//! #[derive(Clone, Debug)]
//! struct SmallConfig {
//!     channels: usize,
//! }
//!
//! impl Architecture for SmallConfig {
//!     fn embedding_dim(&self) -> usize {
//!         16
//!     }
//!
//!     fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>, ModelError> {
//!         let config = ConvBnConfig {
//!             conv: "conv",
//!             norm: "norm",
//!             c_in: 3,
//!             c_out: self.channels,
//!             kernel: 3,
//!             stride: 2,
//!             norm_weight: 1.0,
//!         };
//!         let stages = vec![Stage { name: "conv".to_owned(), channels: self.channels }];
//!         Ok(Box::new(Small { unit: ConvBn::new(builder, config)?, stages }))
//!     }
//! }
//!
//! let encoder = Encoder::new(&SmallConfig { channels: 32 }, Compute::default(), 0, &Device::Cpu)?;
//! let images = Tensor::zeros((4, 3, 16, 16), DType::F32, &Device::Cpu)?;
//! assert_eq!(encoder.features(&images)?.dims(), [4, 32]);
//! assert_eq!(encoder.forward(&images)?.embedding().dims(), [4, 16]);
//! # Ok::<(), ModelError>(())
//! ```

mod builder;
mod candle_layers;
mod layers;
mod ops;
pub(crate) mod resnet;
pub(crate) mod resnet_shape;

pub use builder::Builder;
pub use layers::{ConvBn, ConvBnConfig};
pub use ops::{Activation, CandlePass, Mode, Ops};

pub(crate) use layers::{BatchNorm, Convolution, check_groups, check_residual};

use crate::error::Result;
use crate::head_config::HeadConfig;
use candle_core::Tensor;
use std::fmt;

/// A point of the backbone where features can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, such as `layer4`.
    pub name: String,
    /// Size of its pooled features.
    pub channels: usize,
}

/// A network that turns images into features.
pub trait Backbone: fmt::Debug + Send + Sync {
    /// Where features can be taken, from the first to the last, which is what the projection head sees. Never empty.
    fn stages(&self) -> &[Stage];

    /// One pass: images (N, 3, H, W), of any strides, to the pooled features of stage number `stage`, (N, channels). What
    /// comes after that stage need not be computed.
    ///
    /// # Errors
    /// The images do not fit, or an operation fails.
    fn forward(&self, ops: &mut dyn Ops, images: &Tensor, stage: usize) -> Result<Tensor>;
}

/// What an encoder is built from: the shape of a backbone, and the size of the embedding.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// Size of the embedding that the projection head gives, at least 1.
    fn embedding_dim(&self) -> usize;

    /// The layers from the features to the embedding.
    fn head(&self) -> HeadConfig {
        HeadConfig::default()
    }

    /// Whether the backbone calls [`Ops::candle`] or [`Ops::tensor`], or does more with [`Ops::global_avg_pool`] than to return
    /// what it gives, so that only the portable engine can compute it.
    fn needs_candle(&self) -> bool {
        false
    }

    /// Makes the backbone with the parameters that `builder` gives it. Their names are those of the state dictionary, and
    /// begin with nothing that belongs to the head ([`crate::head::PREFIX`]).
    ///
    /// # Errors
    /// A value of the configuration is out of range, or a tensor operation fails.
    fn build(&self, builder: &mut Builder) -> Result<Box<dyn Backbone>>;
}
