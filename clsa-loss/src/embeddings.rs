//! The embeddings of the views of one batch, checked and put together.

use candle_core::{DType, Device, Tensor};

use crate::{Argument, LossError, check};

/// The embeddings of all views of a batch of N samples as one matrix: weak views first, then strong views.
pub(crate) struct Embeddings {
    /// ((W + S) * N, D), differentiable; F32 where the views are F16 or BF16.
    pub rows: Tensor,
    /// The number of weak views, W.
    pub weak: usize,
    /// The number of strong views, S.
    pub strong: usize,
    /// Samples in the batch, N.
    pub batch: usize,
    /// Components of an embedding, D.
    pub dim: usize,
}

impl Embeddings {
    /// Checks the views against the first one and puts them together; `None` if there is no view at all.
    pub fn new(weak: &[Tensor], strong: &[Tensor]) -> Result<Option<Self>, LossError> {
        let Some(first) = weak.first().or(strong.first()) else {
            return Ok(None);
        };
        let named_weak = weak.iter().enumerate().map(|(i, view)| (Argument::Weak(i).to_string(), view));
        let named_strong = strong.iter().enumerate().map(|(i, view)| (Argument::Strong(i).to_string(), view));
        for (argument, view) in named_weak.chain(named_strong) {
            check::matrix(&argument, view, None)?;
            if view.dims() != first.dims() || first.dims()[0] == 0 {
                return Err(LossError::Shape {
                    argument,
                    expected: format!("({}, {})", first.dims()[0].max(1), first.dims()[1]),
                    got: view.shape().clone(),
                });
            }
            if view.dtype() != first.dtype() {
                return Err(LossError::DType {
                    argument,
                    expected: format!("{:?}, as the first view has,", first.dtype()),
                    got: view.dtype(),
                });
            }
            check::device(&argument, view, first.device())?;
        }
        let all: Vec<&Tensor> = weak.iter().chain(strong).collect();
        let mut rows = Tensor::cat(&all, 0)?;
        if matches!(rows.dtype(), DType::F16 | DType::BF16) {
            rows = rows.to_dtype(DType::F32)?;
        }
        Ok(Some(Self { rows, weak: weak.len(), strong: strong.len(), batch: first.dims()[0], dim: first.dims()[1] }))
    }

    /// The device of all views.
    pub fn device(&self) -> &Device {
        self.rows.device()
    }
}
