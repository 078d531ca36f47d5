//! What a tape asks of a device: memory, and the arithmetic of a pass on it.

use crate::backbone::{BatchNorm, ConvBn};
use crate::error::Result;
use crate::gradients::Gradients;
use crate::kernels::{BatchShape, ConvShape};
use candle_core::Tensor;
use std::ops::Deref;

/// The kernels of a device, in the order in which a pass needs them. Activations and their gradients are in the device's own
/// memory and layout; features and their gradient are tensors, and parameter gradients go through [`Gradients`].
///
/// A convolution's output may be read through its norm ([`Source::Normalized`]), so that it need not be stored a second time.
/// Kernels that cannot do so ask for the values, [`Source::values`].
pub(crate) trait Kernels: Send + Sync + Sized + 'static {
    /// What configurations call them, for messages.
    const BACKEND: &'static str;

    /// An activation or the gradient of one. Goes back to its pool when it is dropped.
    type Memory: Send + Sync;
    /// The place of its window that each output of max pooling is from.
    type Choices: Send + Sync;
    /// Batch norm with the statistics of a batch.
    type Norm: Send + Sync;

    /// Images (N, 3, H, W) of any strides as an activation.
    fn image(&self, images: &Tensor) -> Result<Self::Memory>;

    /// A convolution in training: its output, and the norm by the statistics of each group. The running statistics are
    /// updated.
    fn conv_forward(&self, conv: ConvCall<'_>, x: Source<'_, Self>) -> Result<(Self::Memory, Self::Norm)>;

    /// `relu?(batch_norm(conv(x)) + residual?)` with the running statistics.
    fn conv_eval(
        &self,
        conv: ConvCall<'_>,
        x: &Self::Memory,
        residual: Option<&Self::Memory>,
        relu: bool,
    ) -> Result<Self::Memory>;

    /// `relu?(norm(z) + residual?)`, stored.
    fn normalize(&self, own: &Normalized<Self>, residual: Option<Source<'_, Self>>) -> Result<Self::Memory>;

    /// Max pooling 3x3, stride 2, padding 1, with what its backward pass needs.
    fn max_pool(&self, input: BatchShape, x: Source<'_, Self>) -> Result<(Self::Memory, Self::Choices)>;

    /// The gradient of max pooling's input from that of its output.
    fn max_pool_backward(&self, input: BatchShape, choices: &Self::Choices, dy: &Self::Memory) -> Result<Self::Memory>;

    /// The mean over the positions, (N, C).
    fn global_avg_pool(&self, input: BatchShape, x: &Self::Memory) -> Result<Tensor>;

    /// The gradient of global average pooling's input from that of the features.
    fn global_avg_pool_backward(&self, input: BatchShape, features: &Tensor) -> Result<Self::Memory>;

    /// Backward through ReLU and norm of a unit without residual: from the gradient of its output to that of its
    /// convolution's. The gradients of the norm's parameters are added to `gradients`.
    fn norm_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        dy: Self::Memory,
        gradients: &mut Gradients,
    ) -> Result<Self::Memory>;

    /// As [`Self::norm_backward`] for a unit with a residual, whose output was stored as `sum`. What is left in `dy` is the
    /// residual's gradient.
    fn sum_backward(
        &self,
        bn: &BatchNorm,
        own: &Normalized<Self>,
        sum: &Self::Memory,
        dy: &mut Self::Memory,
        gradients: &mut Gradients,
    ) -> Result<Self::Memory>;

    /// Adds `gradient` to `sum`.
    fn add(&self, sum: &mut Self::Memory, gradient: &Self::Memory) -> Result<()>;

    /// Adds the gradient of a convolution's weight to `gradients`, from its input and its output's gradient.
    fn conv_backward_weight(
        &self,
        conv: ConvCall<'_>,
        x: Source<'_, Self>,
        dz: &Self::Memory,
        gradients: &mut Gradients,
    ) -> Result<()>;

    /// The gradient of a convolution's input, added to `dx` if there is one.
    fn conv_backward_data(
        &self,
        conv: ConvCall<'_>,
        dz: &Self::Memory,
        dx: Option<Self::Memory>,
    ) -> Result<Self::Memory>;
}

/// A convolution of a pass.
#[derive(Clone, Copy)]
pub(crate) struct ConvCall<'a> {
    pub unit: &'a ConvBn,
    pub shape: ConvShape,
    /// Groups of the batch that batch norm sees, in training.
    pub groups: usize,
}

/// An activation as it is in memory.
pub(crate) enum Source<'a, K: Kernels> {
    /// Its values.
    Stored(&'a K::Memory),
    /// A convolution's output, to be read through its norm.
    Normalized(&'a Normalized<K>),
}

impl<'a, K: Kernels> Source<'a, K> {
    /// The values, which are made where they are known only through a norm.
    pub fn values(self, kernels: &K) -> Result<SourceValues<'a, K>> {
        Ok(match self {
            Self::Stored(values) => SourceValues::Stored(values),
            Self::Normalized(own) => SourceValues::Made(kernels.normalize(own, None)?),
        })
    }
}

/// The values of a source. Those that were made go when their reader is done: to make them again for the backward pass costs less than the
/// memory that they would take until then.
pub(crate) enum SourceValues<'a, K: Kernels> {
    Stored(&'a K::Memory),
    Made(K::Memory),
}

impl<K: Kernels> Deref for SourceValues<'_, K> {
    type Target = K::Memory;

    fn deref(&self) -> &K::Memory {
        match self {
            Self::Stored(values) => values,
            Self::Made(values) => values,
        }
    }
}

/// A convolution's output with the norm, and perhaps ReLU, that its readers apply.
pub(crate) struct Normalized<K: Kernels> {
    pub shape: BatchShape,
    pub z: K::Memory,
    pub norm: K::Norm,
    pub relu: bool,
}
