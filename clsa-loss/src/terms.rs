//! What every form of the loss is computed from and yields: its constants, and its terms with their gradient.

use candle_core::{DType, Device, Tensor};

/// The constants of the loss; [`ClsaLoss`](crate::ClsaLoss) has checked them.
#[derive(Clone, Copy)]
pub(crate) struct Constants {
    /// τ.
    pub temperature: f64,
    /// τ₂.
    pub ddm_temperature: f64,
    /// α.
    pub alpha: f64,
}

/// The terms of the loss, and the gradient of `contrastive + alpha * ddm`.
pub(crate) struct Terms {
    /// The contrastive term of each weak view (W), the DDM terms of each strong view (S), and for each sample of the first
    /// weak view (N, none without weak views) the number of candidates nearer than its positive: one tensor, so that one
    /// copy brings them from a device.
    pub measures: Tensor,
    /// ((W + S) * N, D), as the rows of the views.
    pub gradient: Tensor,
}

/// The values of a vector on any device.
pub(crate) fn to_host(values: &Tensor) -> candle_core::Result<Vec<f64>> {
    // Moved before it is cast: not every device has f64.
    values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}
