//! What the ranks of a group exchange in a step, each kind by itself: nothing is computed meanwhile.

use super::measure;
use crate::agreement::gather_numbers;
use crate::communicator::Communicator;
use crate::error::Result;
use crate::gradient_buckets::GradientBuckets;
use crate::shuffle_bn::Shuffle;
use candle_core::{DType, Device, Tensor};
use clsa_model::{Compute, Encoder, Gradients, ModelConfig};
use serde::Serialize;

/// The exchanges of a step with one weak view and one key view.
pub struct RanksBench {
    /// The encoders.
    pub model: ModelConfig,
    /// Images of each rank.
    pub batch: usize,
    /// Side of the key view.
    pub key: usize,
    /// Measured times of each exchange.
    pub steps: usize,
}

/// What the exchanges take on this rank; medians.
#[derive(Debug, Serialize)]
pub struct RanksTime {
    work: &'static str,
    ranks: usize,
    batch: usize,
    /// Images that this rank sends to others for ShuffleBN, MB on average.
    images_mb: f64,
    images_ms: f64,
    /// Keys that come from the others, MB.
    keys_mb: f64,
    keys_ms: f64,
    /// Gradients of which the mean is made, MB.
    gradients_mb: f64,
    gradients_ms: f64,
    /// What ranks agree on before, in and after a step.
    agreement_ms: f64,
}

impl RanksBench {
    /// Measures on every rank; all make the same calls.
    ///
    /// # Errors
    /// A peer disconnected, or the model cannot be built.
    pub fn run(&self, communicator: &dyn Communicator) -> Result<RanksTime> {
        let Self { model, batch, key, steps } = self;
        let ranks = communicator.world_size();
        let median_ms = |call: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
            let times = measure(*steps, call)?;
            Ok(times[times.len() / 2] * 1e3)
        };
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let images = zeros(&[*batch, *key, *key, 3])?;
        let order = Shuffle::new(batch * ranks, 0, 0).order;
        let keys = zeros(&[*batch, model.dim])?;
        let encoder = Encoder::new(model, Compute::default(), 0, &Device::Cpu)?;
        let parameters = encoder.parameters();
        let mut gradients = Gradients::new(parameters.len());
        for parameter in parameters {
            gradients.set(parameter.index, parameter.var.zeros_like()?);
        }
        let mb = |elements: usize| (elements * DType::F32.size_in_bytes()) as f64 / 1e6;
        Ok(RanksTime {
            work: "ranks",
            ranks,
            batch: *batch,
            images_mb: mb(images.elem_count()) * (ranks - 1) as f64 / ranks as f64,
            images_ms: median_ms(&mut || Ok(communicator.permute(&images, &order).map(drop)?))?,
            keys_mb: mb(keys.elem_count() * (ranks - 1)),
            keys_ms: median_ms(&mut || Ok(communicator.all_gather(&keys).map(drop)?))?,
            gradients_mb: mb(parameters.iter().map(|parameter| parameter.var.elem_count()).sum()),
            gradients_ms: median_ms(&mut || {
                GradientBuckets::new(communicator, parameters.len()).finish(&mut gradients)
            })?,
            agreement_ms: median_ms(&mut || {
                // Whether each has its batch; the losses; whether one is to stop, and what the step took.
                gather_numbers(communicator, [0.0])?;
                gather_numbers(communicator, [0.0; 5])?;
                gather_numbers(communicator, [0.0; 4])?;
                Ok(())
            })?,
        })
    }
}
