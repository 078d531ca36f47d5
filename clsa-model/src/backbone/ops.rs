//! The small interface between the networks and their arithmetic: the operations of one pass.
//!
//! A network is written once against [`Ops`]. The portable engine implements it with Candle's operations on any device,
//! the tape with the kernels of a CPU or a GPU on channels-last activations; the writer of ONNX files writes the pass down.

use super::layers::ConvBn;
use crate::error::{ModelError, Result};
use crate::parameters::Parameter;
use candle_core::{DType, Tensor, Var};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Which statistics batch norm uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch, in as many groups as `bn_splits` says; the running statistics are updated.
    Train,
    /// The running statistics.
    Eval,
}

/// The arithmetic of one pass, given to [`Backbone::forward`](super::Backbone::forward) by the encoder's engine.
pub trait Ops {
    /// Takes images (N, 3, H, W) of any strides. A pass of Candle's operations also takes what these have made of an activation
    /// ([`Self::tensor`]), with any number of channels.
    ///
    /// # Errors
    /// They have another rank, or a tensor operation fails.
    fn image(&mut self, images: &Tensor) -> Result<Activation>;

    /// `relu?(batch_norm(conv(x)) + residual?)`, (N, c_out, H', W').
    ///
    /// # Errors
    /// `x` has not the unit's channels, the residual not the shape of the result, `bn_splits` does not divide the batch, or
    /// in training a group of the batch has fewer than two values per channel.
    fn conv_bn(
        &mut self,
        x: &Activation,
        unit: &ConvBn,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Result<Activation>;

    /// Max pooling 3x3, stride 2, padding 1: (N, C, ⌈H/2⌉, ⌈W/2⌉).
    ///
    /// # Errors
    /// A tensor operation fails.
    fn max_pool(&mut self, x: &Activation) -> Result<Activation>;

    /// The mean over the positions: (N, C), in f32 where activations are bf16. It is called once in a pass, and what it gives is
    /// what the backbone returns, as it is: of that alone the kernels know the gradient. A backbone that does more with it says so
    /// in [`Architecture::needs_candle`](super::Architecture::needs_candle).
    ///
    /// # Errors
    /// It was called before in a pass of this crate's kernels, or in one that is written down; or a tensor operation fails.
    fn global_avg_pool(&mut self, x: &Activation) -> Result<Tensor>;

    /// What a backbone computes with whose operations are Candle's own, because the ones above do not suffice.
    ///
    /// # Errors
    /// The pass is one of this crate's kernels. An encoder refuses them for a backbone whose
    /// [`Architecture::needs_candle`](super::Architecture::needs_candle) is true.
    fn candle(&self) -> Result<CandlePass>;

    /// The values of an activation, (N, C, H, W) in [`CandlePass::dtype`] and with their graph, for a backbone that goes on in
    /// Candle's operations. The way back is [`Self::image`].
    ///
    /// # Errors
    /// As [`Self::candle`].
    fn tensor(&self, x: &Activation) -> Result<Tensor>;
}

/// An activation (N, C, H, W) of one pass, in the layout and type of its engine. Clones share the values.
#[derive(Clone)]
pub struct Activation(Arc<dyn Any + Send + Sync>);

impl Activation {
    pub(crate) fn new(values: impl Any + Send + Sync) -> Self {
        Self(Arc::new(values))
    }

    /// The engine's own form.
    pub(crate) fn get<T: Any>(&self) -> Result<&T> {
        self.0.downcast_ref().ok_or(ModelError::ForeignActivation)
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activation")
    }
}

/// One pass in Candle's own operations.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CandlePass {
    /// Training or evaluation.
    pub mode: Mode,
    /// The type of activations and products: f32, f64 or bf16. Features are to be f32, or f64 in double precision.
    pub dtype: DType,
    /// Whether a backward pass follows.
    pub track: bool,
}

impl CandlePass {
    pub(crate) fn new(mode: Mode, dtype: DType, track: bool) -> Self {
        Self { mode, dtype, track }
    }

    /// A variable in its own type, with its graph where a backward pass follows.
    pub(crate) fn take(&self, var: &Var) -> Tensor {
        if self.track { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }

    /// A parameter in the pass's type; where a backward pass follows, with its graph, so that the gradient reaches it.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn parameter(&self, parameter: &Parameter) -> Result<Tensor> {
        Ok(self.take(&parameter.var).to_dtype(self.dtype)?)
    }
}
