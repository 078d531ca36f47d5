//! What DDM asks of strong views.

use candle_core::{DType, Tensor};

use crate::{LossError, check};

/// The targets of DDM, in the form in which they enter it: for each sample the candidate expected under the weak view's distribution,
/// `Σ_b p_i(b) · b`, summed over weak views. [`ClsaLoss::begin_contrastive`](crate::ClsaLoss::begin_contrastive) makes them, without
/// gradient.
#[derive(Clone, Debug)]
pub struct DdmTargets {
    /// (N, D), of the engine's precision.
    pub(crate) expected: Tensor,
    /// The number of weak views.
    pub(crate) weak: usize,
}

impl DdmTargets {
    /// The targets of these weak views and of others of the same samples, which have met the same candidates.
    ///
    /// # Errors
    /// Fails if the others are of another number of samples or components, of views of another dtype, or on another device.
    pub fn and(&self, others: &Self) -> Result<Self, LossError> {
        others.check(self.expected.dims(), self.expected.dtype(), &self.expected)?;
        Ok(Self { expected: (&self.expected + &others.expected)?, weak: self.weak + others.weak })
    }

    /// Checks that these are of views of this shape, computed with this precision, on the device of a tensor.
    pub(crate) fn check(&self, dims: &[usize], precision: DType, beside: &Tensor) -> Result<(), LossError> {
        if self.expected.dims() != dims {
            return Err(LossError::Shape {
                argument: "targets".to_string(),
                expected: format!("{dims:?}"),
                got: self.expected.shape().clone(),
            });
        }
        if self.expected.dtype() != precision {
            return Err(LossError::DType {
                argument: "targets".to_string(),
                expected: format!("{precision:?}"),
                got: self.expected.dtype(),
            });
        }
        check::device("targets", &self.expected, beside.device())
    }
}
