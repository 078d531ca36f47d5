//! The loss of one batch as it is returned: a scalar to differentiate, and its parts as numbers.

use candle_core::{DType, Device, Tensor};

use crate::LossError;
use crate::embeddings::Embeddings;
use crate::terms::{Terms, to_host};

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

impl LossOutput {
    pub(crate) fn new(alpha: f64, embeddings: &Embeddings, terms: Terms) -> Result<Self, LossError> {
        let measures = to_host(&terms.measures)?;
        let (contrastive_per_view, rest) = measures.split_at(embeddings.weak);
        let (ddm_per_view, above_positive) = rest.split_at(embeddings.strong);
        let contrastive: f64 = contrastive_per_view.iter().sum();
        // An empty f64 sum is -0.0; adding 0.0 makes it +0.0.
        let ddm = ddm_per_view.iter().sum::<f64>() + 0.0;
        let total = contrastive + alpha * ddm;
        // A scalar that has the value of the loss and, to Candle's backward pass, its gradient: the difference is zero.
        let difference = (&embeddings.rows - embeddings.rows.detach())?;
        let loss = (difference * terms.gradient)?.sum_all()?.affine(1.0, total)?;
        let within = |rank: f64| {
            let hits = above_positive.iter().filter(|&&above| above < rank).count();
            100.0 * hits as f64 / above_positive.len() as f64
        };
        Ok(Self {
            loss,
            total,
            contrastive,
            ddm,
            acc1: within(1.0),
            acc5: within(5.0),
            contrastive_per_view: contrastive_per_view.to_vec(),
            ddm_per_view: ddm_per_view.to_vec(),
        })
    }

    /// The empty sum.
    pub(crate) fn without_views(device: &Device) -> Result<Self, LossError> {
        Ok(Self {
            loss: Tensor::zeros((), DType::F32, device)?,
            total: 0.0,
            contrastive: 0.0,
            ddm: 0.0,
            contrastive_per_view: vec![],
            ddm_per_view: vec![],
            acc1: f64::NAN,
            acc5: f64::NAN,
        })
    }
}
