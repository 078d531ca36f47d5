//! The loss on random unit embeddings, forward and backward.

use super::measure;
use super::memory::{peak_gpu_from_now_mb, peak_gpu_mb, peak_rss_from_now_mb, peak_rss_mb};
use crate::error::Result;
use candle_core::{D, DType, Device, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
use clsa_model::Precision;
use serde::Serialize;

/// The loss on random unit embeddings, forward and backward.
pub struct LossBench {
    /// Rows of each view.
    pub batch: usize,
    /// Number of weak views.
    pub weak: usize,
    /// Number of strong views.
    pub strong: usize,
    /// Size of the bank.
    pub bank: usize,
    /// Size of the embeddings.
    pub dim: usize,
    /// Measured steps.
    pub steps: usize,
    /// Storage of the bank.
    pub precision: Precision,
}

/// What the loss takes.
#[derive(Debug, Serialize)]
pub struct LossTime {
    work: &'static str,
    batch: usize,
    weak: usize,
    strong: usize,
    bank: usize,
    precision: Precision,
    median_s: f64,
    min_s: f64,
    /// Highest resident memory of the process during the passes, less that with all inputs in place, MB; none where the
    /// system does not say, or does not let the inputs be left out.
    extra_peak_mb: Option<f64>,
    /// The same on the GPU; none on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_peak_gpu_mb: Option<f64>,
}

impl LossBench {
    /// Measures after one pass that is not counted.
    ///
    /// # Errors
    /// A size is zero.
    pub fn run(&self, device: &Device) -> Result<LossTime> {
        let dtype = if self.precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
        let bank = MemoryBank::random(self.bank, self.dim, 1, dtype, device)?;
        let unit = || -> candle_core::Result<Tensor> {
            let rows = Tensor::randn(0f32, 1f32, (self.batch, self.dim), device)?;
            rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
        };
        let views = |n: usize| -> candle_core::Result<Vec<Tensor>> {
            (0..n).map(|_| Ok(Var::from_tensor(&unit()?)?.into_inner())).collect()
        };
        let (keys, weak, strong) = (unit()?, views(self.weak)?, views(self.strong)?);
        let candidates = Candidates::new(&keys).with_bank(&bank);
        let loss = ClsaLoss::default();
        let before = peak_rss_from_now_mb();
        let gpu_before = peak_gpu_from_now_mb(device);
        let times = measure(self.steps, || {
            let output = loss.forward(&weak, &strong, candidates)?;
            output.loss.backward()?;
            Ok(())
        })?;
        let after = peak_rss_mb();
        Ok(LossTime {
            work: "loss",
            batch: self.batch,
            weak: self.weak,
            strong: self.strong,
            bank: self.bank,
            precision: self.precision,
            median_s: times[times.len() / 2],
            min_s: times[0],
            extra_peak_mb: after.zip(before).map(|(after, before)| after - before),
            extra_peak_gpu_mb: peak_gpu_mb(device).zip(gpu_before).map(|(peak, before)| peak - before),
        })
    }
}
