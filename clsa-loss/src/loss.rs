//! The CLSA loss: InfoNCE for weak views, DDM for pairs of weak and strong views.

use candle_core::{DType, Device, Tensor};

use crate::exact::Split;
use crate::statistics::{Queries, Statistics};
use crate::views::Views;
use crate::{CandidateSet, Candidates, LossError, cpu, in_batch, portable};

/// The CLSA loss with its three constants (paper section 3.3; the default is the paper's).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClsaLoss {
    /// τ of the contrastive term; finite and above zero.
    pub temperature: f64,
    /// τ₂ of the DDM term; finite and above zero. One pass serves both terms where it equals `temperature`.
    pub ddm_temperature: f64,
    /// α, the weight of the DDM term: finite, at least zero. With zero, DDM is still computed and reported.
    pub alpha: f64,
    /// What computes the pass over the candidates.
    pub implementation: Implementation,
}

/// What computes the pass over keys and bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Implementation {
    /// `Cpu` for tensors on the CPU, `Portable` for others.
    #[default]
    Auto,
    /// Candle operations: any device and dtype.
    Portable,
    /// The operation for CPUs, which streams the candidates through the cache.
    Cpu,
}

impl Default for ClsaLoss {
    fn default() -> Self {
        Self { temperature: 0.2, ddm_temperature: 0.2, alpha: 1.0, implementation: Implementation::Auto }
    }
}

/// The loss of one batch, and its parts.
#[derive(Clone, Debug)]
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
    /// Percentage of samples whose positive is the nearest candidate to the first weak view; not a number without weak views.
    pub acc1: f64,
    /// Percentage of samples whose positive is among the five nearest candidates.
    pub acc5: f64,
}

/// The terms of the loss, and the gradient of `contrastive + alpha * ddm`.
pub(crate) struct Terms {
    pub contrastive_per_view: Vec<f64>,
    pub ddm_per_view: Vec<f64>,
    /// For each sample of the first weak view, the number of candidates nearer than its positive.
    pub above_positive: Vec<u32>,
    /// ((W + S) * N, D), as the views.
    pub gradient: Tensor,
}

impl ClsaLoss {
    /// The loss of W weak and S strong views of N samples, each view (N, D) with unit rows, against `candidates`:
    /// [`Candidates`] (keys and bank) or [`InBatch`](crate::InBatch).
    ///
    /// With `B = [keys; bank]`, `contrastive` sums over weak views the cross-entropy of `weak_i · Bᵀ / τ` against the positive column
    /// (InfoNCE), and `ddm` sums over pairs the cross-entropy from `softmax(weak_i · Bᵀ / τ₂)`, a target without gradient, to
    /// `softmax(strong_j · Bᵀ / τ₂)`; both are means over samples. No strong views is MoCo v2.
    ///
    /// Rows need not be unit vectors: logits of any finite size are handled without overflow.
    ///
    /// # Errors
    /// A [`LossError`] that names the argument: views that differ in shape, dtype or device, candidates that do not fit them, values
    /// that are not finite, temperatures that are not above zero, nothing to compare with.
    pub fn forward<'a>(
        &self,
        weak: &[Tensor],
        strong: &[Tensor],
        candidates: impl Into<CandidateSet<'a>>,
    ) -> Result<LossOutput, LossError> {
        let candidates = candidates.into();
        let views = Views::new(weak, strong)?;
        self.check(views.as_ref().map_or(DType::F64, |views| views.embeddings.dtype()))?;
        match (candidates, views) {
            (CandidateSet::Keys(candidates), Some(views)) => {
                candidates.check(views.dim, views.device())?;
                LossOutput::new(self, &views, self.terms(&views, candidates)?)
            }
            (CandidateSet::Keys(candidates), None) => {
                candidates.check(candidates.keys.dims().last().copied().unwrap_or(0), candidates.keys.device())?;
                LossOutput::without_views(candidates.keys)
            }
            (CandidateSet::InBatch, Some(views)) => LossOutput::new(self, &views, in_batch::terms(self, &views)?),
            (CandidateSet::InBatch, None) => Err(LossError::TooFewViews { got: 0 }),
        }
    }

    /// Checks the settings for views of a dtype.
    fn check(&self, dtype: DType) -> Result<(), LossError> {
        for (argument, value) in [("temperature", self.temperature), ("ddm_temperature", self.ddm_temperature)] {
            // One over the smallest numbers is infinite, and one over the largest of f64 is 0 in f32.
            let factor = if dtype == DType::F64 { value.recip() } else { f64::from(value.recip() as f32) };
            if !(value > 0.0 && value.is_finite() && factor.is_finite() && factor > 0.0) {
                return Err(LossError::Temperature { argument, value });
            }
        }
        if !(self.alpha >= 0.0 && self.alpha.is_finite()) {
            return Err(LossError::Alpha { value: self.alpha });
        }
        Ok(())
    }

    /// The terms against keys and bank.
    ///
    /// With μ_i the candidate expected under p_i, `DDM_ij = LSE(strong_j · Bᵀ / τ₂) - strong_j · μ_i / τ₂`: a weak view enters through
    /// one mean, a strong view through one log-sum-exp, so that W · S pairs cost W + S passes over the candidates.
    fn terms(&self, views: &Views, candidates: Candidates) -> Result<Terms, LossError> {
        let Views { weak, strong, batch, dim, .. } = *views;
        let z = views.embeddings.detach();
        if weak == 0 {
            return Ok(Terms {
                contrastive_per_view: vec![],
                ddm_per_view: vec![0.0; strong],
                above_positive: vec![],
                gradient: z.zeros_like()?,
            });
        }
        let on_cpu = self.on_cpu(views)?;
        let precision = if on_cpu { DType::F64 } else { z.dtype() };
        let (tau, tau2) = (self.temperature, self.ddm_temperature);
        let exact = z.to_dtype(precision)?.reshape((weak + strong, batch, dim))?;
        let weak_rows = exact.narrow(0, 0, weak)?;
        let positives = candidates.positives(batch, precision)?;
        let (positive_scores, positive_low) = Split::new(&weak_rows)?.row_products(&Split::new(&positives)?)?;
        let positive_logits = ((&positive_scores + &positive_low)? / tau)?;

        // Weak views at τ, then, where it differs, once more at τ₂, then strong views.
        let shared = tau == tau2 || strong == 0;
        let (rows, first_weak_at_tau2) =
            if shared { (z, 0) } else { (Tensor::cat(&[&z.narrow(0, 0, weak * batch)?, &z], 0)?, weak * batch) };
        let mut inverse_temperatures = vec![1.0 / tau; weak * batch];
        inverse_temperatures.resize(rows.dims()[0], 1.0 / tau2);
        let queries =
            Queries { rows, inverse_temperatures, positive_logits: to_f64(&positive_logits.get(0)?)?, candidates };
        let Statistics { shift, log_sum, mean, above_positive } =
            if on_cpu { cpu::statistics(&queries)? } else { portable::statistics(&queries)? };

        // InfoNCE: LSE - positive logit, and its gradient (mean - positive) / τ, over N samples.
        let of_views = |statistic: &Tensor, first: usize, views: usize| {
            statistic.narrow(0, first, views * batch)?.reshape((views, batch))
        };
        let above_positives = ((of_views(&shift, 0, weak)? - positive_scores)? - positive_low)?;
        let contrastive = ((above_positives / tau)? + of_views(&log_sum, 0, weak)?)?.mean(1)?;
        let mean_weak = mean.narrow(0, 0, weak * batch)?.reshape((weak, batch, dim))?;
        let mut gradient = (mean_weak.broadcast_sub(&positives)? / (tau * batch as f64))?;

        // DDM: with M = Σ_i μ_i, Σ_i DDM_ij = W · LSE_j - strong_j · M / τ₂, and its gradient (W · mean_j - M) / τ₂.
        let mut ddm = vec![];
        if strong > 0 {
            let targets = mean.narrow(0, first_weak_at_tau2, weak * batch)?.reshape((weak, batch, dim))?.sum(0)?;
            let first_strong = first_weak_at_tau2 + weak * batch;
            let mean_strong = mean.narrow(0, first_strong, strong * batch)?.reshape((strong, batch, dim))?;
            let strong_rows = exact.narrow(0, weak, strong)?;
            let (expected_scores, low) = Split::new(&strong_rows)?.row_products(&Split::new(&targets)?)?;
            let above_expected = (((of_views(&shift, first_strong, strong)? * weak as f64)? - expected_scores)? - low)?;
            let log_sums = (of_views(&log_sum, first_strong, strong)? * weak as f64)?;
            ddm = to_f64(&((above_expected / tau2)? + log_sums)?.mean(1)?)?;
            let gradient_strong =
                ((mean_strong * weak as f64)?.broadcast_sub(&targets)? * (self.alpha / (tau2 * batch as f64)))?;
            gradient = Tensor::cat(&[gradient, gradient_strong], 0)?;
        }
        Ok(Terms {
            contrastive_per_view: to_f64(&contrastive)?,
            ddm_per_view: ddm,
            above_positive,
            gradient: gradient.to_dtype(views.embeddings.dtype())?.reshape(((weak + strong) * batch, dim))?,
        })
    }

    /// Whether the operation for CPUs computes the pass.
    fn on_cpu(&self, views: &Views) -> Result<bool, LossError> {
        match self.implementation {
            Implementation::Auto => Ok(views.device().is_cpu()),
            Implementation::Portable => Ok(false),
            Implementation::Cpu if views.device().is_cpu() => Ok(true),
            Implementation::Cpu => Err(LossError::Device {
                argument: "implementation".to_string(),
                expected: "the CPU".to_string(),
                got: format!("{:?}", views.device().location()),
            }),
        }
    }
}

impl LossOutput {
    fn new(loss: &ClsaLoss, views: &Views, terms: Terms) -> Result<Self, LossError> {
        let contrastive: f64 = terms.contrastive_per_view.iter().sum();
        // The sum of no terms is -0.
        let ddm = terms.ddm_per_view.iter().sum::<f64>() + 0.0;
        let total = contrastive + loss.alpha * ddm;
        // A scalar that has the value of the loss and, to Candle's backward pass, its gradient: the difference is zero.
        let difference = (&views.embeddings - views.embeddings.detach())?;
        let tensor = (difference * terms.gradient)?.sum_all()?.affine(1.0, total)?;
        let within = |rank: u32| {
            let hits = terms.above_positive.iter().filter(|&&above| above < rank).count();
            100.0 * hits as f64 / terms.above_positive.len() as f64
        };
        Ok(Self {
            loss: tensor,
            total,
            contrastive,
            ddm,
            acc1: within(1),
            acc5: within(5),
            contrastive_per_view: terms.contrastive_per_view,
            ddm_per_view: terms.ddm_per_view,
        })
    }

    /// The empty sum, on the device of the keys.
    fn without_views(keys: &Tensor) -> Result<Self, LossError> {
        Ok(Self {
            loss: Tensor::zeros((), DType::F32, keys.device())?,
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

fn to_f64(values: &Tensor) -> candle_core::Result<Vec<f64>> {
    // Moved before it is cast: not every device has f64.
    values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}
