//! The small interface between the networks and their arithmetic: the operations of a ResNet's backbone.
//!
//! The networks are written once against [`Ops`]. `portable` implements it with Candle operations on any device;
//! `cpu` with this crate's kernels on channels-last activations.

use crate::error::Result;
use crate::params::{Buffer, Parameter};
use candle_core::Tensor;

/// A convolution without bias, its weight `(c_out, c_in, kernel, kernel)`.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub weight: Parameter,
    pub c_in: usize,
    pub c_out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

/// Batch norm over the channels, eps 1e-5, running statistics with momentum 0.1 (torch's BatchNorm2d).
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    pub weight: Parameter,
    pub bias: Parameter,
    pub running_mean: Buffer,
    pub running_var: Buffer,
}

impl BatchNorm {
    pub const EPS: f64 = 1e-5;
    pub const MOMENTUM: f64 = 0.1;
}

/// The unit of a ResNet: convolution, batch norm, and in the pass an optional residual and ReLU.
#[derive(Clone, Debug)]
pub(crate) struct ConvBn {
    pub conv: Conv,
    pub bn: BatchNorm,
}

/// Which statistics batch norm uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch, in as many groups as `bn_splits` says; the running statistics follow.
    Train,
    /// The running statistics.
    Eval,
}

/// One pass's arithmetic. Activations are of shape (N, C, H, W), in the implementation's own layout.
pub(crate) trait Ops {
    /// An activation.
    type Act: Clone;

    /// Takes images (N, 3, H, W) of any strides.
    fn image(&mut self, images: &Tensor) -> Result<Self::Act>;

    /// `relu?(batch_norm(conv(x)) + residual?)`.
    fn conv_bn(&mut self, x: &Self::Act, unit: &ConvBn, residual: Option<&Self::Act>, relu: bool) -> Result<Self::Act>;

    /// Max pooling 3x3, stride 2, padding 1.
    fn max_pool(&mut self, x: &Self::Act) -> Result<Self::Act>;

    /// The mean over the positions: (N, C).
    fn global_avg_pool(&mut self, x: &Self::Act) -> Result<Tensor>;
}
