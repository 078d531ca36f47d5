//! What computes an encoder's passes: chosen once, when the encoder is made.

mod cpu;
mod portable;

use crate::backbone::Mode;
use crate::compute::{Backend, Compute, EngineKind, Precision};
use crate::error::{ModelError, Result};
use crate::network::Network;
use crate::pass::Pass;
use candle_core::{Device, Tensor};
use cpu::CpuEngine;
use half::bf16;
use portable::PortableEngine;

/// An implementation of a network's passes.
pub(crate) trait Engine: Send + Sync {
    fn kind(&self) -> EngineKind;

    /// A training pass of images (N, 3, H, W), ready to be taken backward.
    fn record(&self, network: &Network, images: &Tensor, end: PassEnd) -> Result<Pass>;

    /// Images (N, 3, H, W) to the pooled features (N, C) of a stage, without gradient.
    fn features(&self, network: &Network, images: &Tensor, mode: Mode, stage: usize) -> Result<Tensor>;

    /// Images (N, 3, H, W) to embeddings (N, dim), without gradient.
    fn embed(&self, network: &Network, images: &Tensor, mode: Mode) -> Result<Tensor>;
}

/// Where a training pass ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassEnd {
    /// After the backbone.
    Features,
    /// After the projection head.
    Embedding,
}

/// The engine that a request stands for. `needs_candle` is the backbone's: only the portable engine can compute it.
///
/// # Errors
/// The CPU kernels are asked for where they cannot serve, or `CLSA_KERNELS` names what this processor lacks.
pub(crate) fn open(compute: Compute, device: &Device, needs_candle: bool) -> Result<Box<dyn Engine>> {
    type Open = fn(usize) -> Result<Box<dyn Engine>>;
    let kernels: Option<Open> = match compute.precision {
        Precision::F32 => Some(CpuEngine::<f32>::open),
        Precision::Bf16 => Some(CpuEngine::<bf16>::open),
        Precision::F64 => None,
    };
    match (compute.backend, kernels.filter(|_| device.is_cpu() && !needs_candle)) {
        (Backend::Auto | Backend::Cpu, Some(open)) => open(compute.bn_splits),
        (Backend::Auto, None) | (Backend::Portable, _) => Ok(Box::new(PortableEngine::new(compute))),
        (Backend::Cpu, None) => Err(ModelError::Config {
            field: "backend",
            value: "cpu".to_owned(),
            expected: if needs_candle {
                "this backbone asks for Candle's operations; use portable or auto".to_owned()
            } else {
                "the CPU kernels compute in f32 or bf16 on the CPU; use portable for anything else".to_owned()
            },
        }),
    }
}
