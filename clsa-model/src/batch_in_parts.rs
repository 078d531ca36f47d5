//! Batch norm's running statistics of a batch that an encoder sees part by part.

use crate::encoder::Encoder;
use crate::error::Result;
use candle_core::{Tensor, Var};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A batch whose parts an encoder sees in passes of their own, in training mode. Its running statistics end as if the batch had been seen
/// whole with `bn_splits` times as many groups: a pass moves them linearly, so that the mean over the parts, each of
/// which sets out from where they stood before the batch, is what one pass over all groups gives.
///
/// # Examples
///
/// ```
/// use clsa_model::candle_core::{DType, Device, Tensor};
/// use clsa_model::{Arch, BatchInParts, Compute, Encoder, Mode, ModelConfig, Stem};
///
/// let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
/// let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
/// let images = Tensor::zeros((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
///
/// let mut batch = BatchInParts::begin(&encoder)?;
/// for part in 0..2 {
///     encoder.embed(&images.narrow(0, 4 * part, 4)?, Mode::Train)?;
///     batch.end_part()?;
/// }
/// batch.end()?;
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct BatchInParts {
    statistics: Vec<Var>,
    batches: Arc<AtomicU64>,
    /// The statistics as they were at the beginning.
    before: Vec<Tensor>,
    batches_before: u64,
    /// Passes of the last part: every part has as many.
    passes: u64,
    /// The statistics after each part, added up.
    sums: Vec<Tensor>,
    parts: usize,
}

impl BatchInParts {
    /// Before the first part.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn begin(encoder: &Encoder) -> Result<Self> {
        let statistics: Vec<Var> = encoder.running_statistics().iter().map(|statistic| statistic.var.clone()).collect();
        // The passes write to the statistics in place.
        let before =
            statistics.iter().map(|var| var.as_detached_tensor().copy()).collect::<candle_core::Result<_>>()?;
        let batches = encoder.batch_counter();
        let batches_before = batches.load(Ordering::Relaxed);
        Ok(Self { statistics, batches, before, batches_before, passes: 0, sums: Vec::new(), parts: 0 })
    }

    /// After the passes of a part.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn end_part(&mut self) -> Result<()> {
        let after = self.statistics.iter().map(Var::as_detached_tensor);
        self.sums = if self.parts == 0 {
            after.map(|after| after.copy()).collect::<candle_core::Result<_>>()?
        } else {
            self.sums.iter().zip(after).map(|(sum, after)| sum + after).collect::<candle_core::Result<_>>()?
        };
        self.parts += 1;
        self.passes = self.batches.swap(self.batches_before, Ordering::Relaxed) - self.batches_before;
        self.set(&self.before)
    }

    /// After the last part.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn end(self) -> Result<()> {
        if self.parts == 0 {
            return Ok(());
        }
        let part = 1.0 / self.parts as f64;
        let means: Vec<Tensor> = self.sums.iter().map(|sum| sum * part).collect::<candle_core::Result<_>>()?;
        self.batches.store(self.batches_before + self.passes, Ordering::Relaxed);
        self.set(&means)
    }

    fn set(&self, values: &[Tensor]) -> Result<()> {
        for (var, value) in self.statistics.iter().zip(values) {
            var.set(value)?;
        }
        Ok(())
    }
}
