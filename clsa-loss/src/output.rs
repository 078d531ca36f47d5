//! The loss of one batch as it is returned: a scalar to differentiate, and its parts as numbers.

use candle_core::Tensor;

/// The loss of one batch, and its parts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LossOutput {
    /// `contrastive + alpha * ddm`: a scalar of the views' dtype (F32 for F16 and BF16 views), whose `backward()` reaches every weak
    /// and strong tensor.
    pub loss: Tensor,
    /// The same value.
    pub total: f64,
    /// The contrastive terms, summed over weak views.
    pub contrastive: f64,
    /// The DDM terms, summed over pairs of a weak and a strong view, before their weight.
    pub ddm: f64,
    /// The contrastive term of each weak view.
    pub contrastive_per_view: Vec<f64>,
    /// The DDM terms of each strong view, summed over weak views.
    pub ddm_per_view: Vec<f64>,
    /// Percentage of samples whose positive is the nearest candidate to the first weak view; NaN without weak views.
    pub acc1: f64,
    /// Percentage of samples whose positive is among the five nearest candidates to the first weak view; NaN without weak
    /// views.
    pub acc5: f64,
}
