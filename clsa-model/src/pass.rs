//! A training pass of one view.

use crate::error::{ModelError, Result};
use crate::gradients::Gradients;
use candle_core::Tensor;

/// A training pass of one view: its embedding, and what the backward pass needs.
#[must_use = "a pass holds its activations until `backward` is called or it is dropped"]
pub struct Pass {
    embedding: Tensor,
    features: Tensor,
    recorded: Box<dyn Recorded>,
}

/// What an engine keeps of a pass for the backward pass.
pub(crate) trait Recorded: Send + Sync {
    /// Propagates the gradient of the pass's result and adds the parameters' gradients. Calls `complete` with each parameter's index and
    /// gradient once nothing more of this pass is added to it.
    fn backward(
        self: Box<Self>,
        gradient: &Tensor,
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<()>;
}

/// What is called with a parameter's index and gradient when a backward pass adds nothing more to it. The gradient is in the memory
/// that [`Gradients::get`] gives.
pub type Complete<'a> = dyn FnMut(usize, &Tensor) + Send + 'a;

impl Pass {
    /// `features` are what the head has seen.
    pub(crate) fn new(embedding: Tensor, features: Tensor, recorded: impl Recorded + 'static) -> Self {
        Self { embedding, features, recorded: Box::new(recorded) }
    }

    /// The embedding (N, dim), rows of unit length, without graph; of
    /// [`forward_features`](crate::Encoder::forward_features), the features (N, C).
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    /// The pooled features (N, C) of the backbone's last stage in this pass, without graph: for a classifier that is trained beside the
    /// encoder without touching it.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// Propagates the gradient of the embedding (N, dim) back through the encoder and adds the parameters' gradients to
    /// `gradients`.
    ///
    /// # Errors
    /// The gradient has another shape, or a tensor operation fails.
    ///
    /// # Panics
    /// `gradients` were made for fewer parameters than the encoder has.
    pub fn backward(self, gradient: &Tensor, gradients: &mut Gradients) -> Result<()> {
        self.backward_by_parameter(gradient, gradients, &mut |_, _| {})
    }

    /// As [`Self::backward`], for work that need not wait for the end of the pass, such as an average over ranks: `complete` is called
    /// with each parameter's index and gradient once this pass adds nothing more to it, always in the same order. Kernels
    /// come to the parameters one by one, from the head to the first layer; Candle's graph gives all of them at its end.
    ///
    /// # Errors
    /// As [`Self::backward`].
    ///
    /// # Panics
    /// As [`Self::backward`].
    ///
    /// # Examples
    ///
    /// ```
    /// use clsa_model::candle_core::{DType, Device, Tensor};
    /// use clsa_model::{Arch, Compute, Encoder, Gradients, ModelConfig, Stem};
    ///
    /// let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
    /// let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
    /// let pass = encoder.forward(&Tensor::zeros((4, 3, 32, 32), DType::F32, &Device::Cpu)?)?;
    /// let upstream = pass.embedding().ones_like()?;
    /// let mut gradients = Gradients::new(encoder.parameters().len());
    /// let mut order = Vec::new();
    /// pass.backward_by_parameter(&upstream, &mut gradients, &mut |index, _| order.push(index))?;
    /// assert_eq!(order.len(), encoder.parameters().len());
    /// # Ok::<(), clsa_model::ModelError>(())
    /// ```
    pub fn backward_by_parameter(
        self,
        gradient: &Tensor,
        gradients: &mut Gradients,
        complete: &mut Complete<'_>,
    ) -> Result<()> {
        if gradient.dims() != self.embedding.dims() {
            let expected = format!("{:?}", self.embedding.dims());
            return Err(ModelError::shape("the embedding's gradient", gradient.dims(), expected));
        }
        self.recorded.backward(gradient, gradients, complete)
    }
}
