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
    /// Propagates the gradient of the pass's result and adds the parameters' gradients.
    fn backward(self: Box<Self>, gradient: &Tensor, gradients: &mut Gradients) -> Result<()>;
}

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
        if gradient.dims() != self.embedding.dims() {
            return Err(ModelError::Shape {
                what: "the embedding's gradient",
                got: gradient.dims().to_vec(),
                expected: format!("{:?}", self.embedding.dims()),
            });
        }
        self.recorded.backward(gradient, gradients)
    }
}
