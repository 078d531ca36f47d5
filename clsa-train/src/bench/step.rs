//! One training step on random views.

use super::measure;
use super::memory::{peak_gpu_mb, peak_rss_mb};
use crate::communicator::SingleProcess;
use crate::error::Result;
use crate::method::{Clsa, Views};
use crate::optimizer::Optimizer;
use crate::setup::tune;
use candle_core::{DType, Device, Tensor};
use clsa_loss::MemoryBank;
use clsa_model::{Compute, ModelConfig, MomentumPair, Precision};
use clsa_run::{MethodConfig, OptimConfig};
use serde::Serialize;
use std::sync::Arc;

/// One training step on random views.
pub struct StepBench {
    /// The encoders' shape.
    pub model: ModelConfig,
    /// How they are computed.
    pub compute: Compute,
    /// Images in a batch.
    pub batch: usize,
    /// Side of the key view, pixels.
    pub key: usize,
    /// Sides of the weak views, pixels.
    pub weak: Vec<usize>,
    /// Sides of the strong views, pixels.
    pub strong: Vec<usize>,
    /// Size of the bank.
    pub bank: usize,
    /// Measured steps.
    pub steps: usize,
    /// Whether a GPU times cuDNN's plans, as `compute.tune` has it.
    pub tune: bool,
    /// On a GPU, whether one more step is measured kernel by kernel.
    pub profile: bool,
}

/// What a kind of work takes on a GPU in one step.
#[derive(Debug, Serialize)]
pub struct KernelTime {
    kind: String,
    count: usize,
    ms: f64,
}

/// What a step takes.
#[derive(Debug, Serialize)]
pub struct StepTime {
    work: &'static str,
    arch: &'static str,
    batch: usize,
    precision: Precision,
    /// What computed the encoders' passes: `cpu`, `cuda` or `portable`.
    engine: String,
    /// Why a GPU's kernels did not, in words; none where they did, or were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_kernels: Option<&'static str>,
    median_s: f64,
    min_s: f64,
    /// Highest resident memory of the process, MB; none where the system does not say.
    peak_rss_mb: Option<f64>,
    /// Highest memory that was taken on the GPU, MB; none on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gpu_mb: Option<f64>,
    /// Most first; only where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<KernelTime>,
}

impl StepTime {
    /// Why a GPU measured Candle's operations in the place of its kernels, where that was not asked for.
    pub fn without_kernels(&self) -> Option<&'static str> {
        self.without_kernels
    }
}

impl StepBench {
    /// Measures after one step that is not counted.
    ///
    /// # Errors
    /// A size does not fit the model.
    pub fn run(&self, device: &Device) -> Result<StepTime> {
        tune(device, self.tune)?;
        let method = MethodConfig { bank: self.bank, ..MethodConfig::default() };
        let pair = MomentumPair::new(&self.model, self.compute, method.momentum, 0, device)?;
        // As a configuration spells it.
        let engine = format!("{:?}", pair.query.engine()).to_lowercase();
        let without_kernels = pair.query.without_kernels();
        let bank = MemoryBank::random(self.bank, self.model.dim, 0, DType::F32, device)?;
        let optimizer = Optimizer::new(pair.query.parameters(), &OptimConfig::default())?;
        let mut clsa = Clsa::new(pair, bank, optimizer, &method, Arc::new(SingleProcess), 0);
        let image = |side: &usize| -> candle_core::Result<Tensor> {
            // Channels-last in memory, as the loader makes them.
            Tensor::randn(0f32, 1f32, (self.batch, *side, *side, 3), device)?.permute((0, 3, 1, 2))
        };
        let images = |sides: &[usize]| sides.iter().map(image).collect::<candle_core::Result<Vec<_>>>();
        let views = Views {
            key: image(&self.key)?,
            weak: images(&self.weak)?,
            strong: images(&self.strong)?,
            bytes: Vec::new(),
        };
        let times = measure(self.steps, || clsa.step(&views, 0.03).map(drop))?;
        Ok(StepTime {
            work: "step",
            arch: self.model.arch.name(),
            batch: self.batch,
            precision: self.compute.precision,
            engine,
            without_kernels,
            median_s: times[times.len() / 2],
            min_s: times[0],
            peak_rss_mb: peak_rss_mb(),
            peak_gpu_mb: peak_gpu_mb(device),
            kernels: if self.profile { profile(device, || clsa.step(&views, 0.03).map(drop))? } else { Vec::new() },
        })
    }
}

/// Kernels and convolutions of a call on a GPU, each kind with its time; Candle's own kernels are not among them.
#[cfg(feature = "cuda")]
fn profile(device: &Device, call: impl FnOnce() -> Result<()>) -> Result<Vec<KernelTime>> {
    let gpu = |error| candle_core::Error::wrap(error);
    if !device.is_cuda() {
        return Ok(Vec::new());
    }
    let cuda = clsa_cuda::Cuda::of(device).map_err(gpu)?;
    cuda.profile(true);
    let done = call();
    cuda.profile(false);
    let kinds = cuda.take_profile().map_err(gpu)?;
    done?;
    Ok(kinds.into_iter().map(|(kind, count, ms)| KernelTime { kind, count, ms }).collect())
}

#[cfg(not(feature = "cuda"))]
fn profile(_: &Device, _: impl FnOnce() -> Result<()>) -> Result<Vec<KernelTime>> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_model::{Arch, Backend, Stem};

    #[test]
    fn a_measurement_names_the_engine_that_it_is_of() {
        for (backend, engine) in [(Backend::Auto, "cpu"), (Backend::Portable, "portable")] {
            let bench = StepBench {
                model: ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.125, ..ModelConfig::default() },
                compute: Compute { backend, ..Compute::default() },
                batch: 2,
                key: 16,
                weak: vec![16],
                strong: Vec::new(),
                bank: 8,
                steps: 1,
                tune: false,
                profile: false,
            };
            let time = bench.run(&Device::Cpu).unwrap();
            // It was asked for, or there is no GPU whose kernels are missed.
            assert_eq!(time.without_kernels(), None);
            let recorded = serde_json::to_value(time).unwrap();
            assert_eq!(recorded["engine"], engine);
            assert!(recorded.get("without_kernels").is_none(), "{recorded}");
        }
    }
}
