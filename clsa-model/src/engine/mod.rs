//! What computes an encoder's passes: chosen once, when the encoder is made.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
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

    /// A training pass of images (N, 3, H, W), ready for its backward pass.
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
/// Kernels are asked for where they cannot serve, `CLSA_KERNELS` names what this processor lacks, or the GPU fails.
pub(crate) fn open(
    compute: Compute,
    device: &Device,
    needs_candle: bool,
    network: &Network,
) -> Result<Box<dyn Engine>> {
    let kernels = match device {
        _ if needs_candle => None,
        Device::Cpu => cpu_kernels(compute)?,
        _ => gpu_kernels(compute, device, network)?,
    };
    match (compute.backend, kernels) {
        (Backend::Auto, Some(engine)) => Ok(engine),
        (Backend::Cpu, Some(engine)) if engine.kind() == EngineKind::Cpu => Ok(engine),
        (Backend::Cuda, Some(engine)) if engine.kind() == EngineKind::Cuda => Ok(engine),
        (Backend::Auto, None) | (Backend::Portable, _) => Ok(Box::new(PortableEngine::new(compute))),
        (Backend::Cpu | Backend::Cuda, _) => Err(unable(compute.backend, needs_candle)),
    }
}

/// The CPU's kernels, for the types that they compute in.
fn cpu_kernels(compute: Compute) -> Result<Option<Box<dyn Engine>>> {
    match (compute.backend, compute.precision) {
        // `CLSA_KERNELS` is read only where it counts.
        (Backend::Portable | Backend::Cuda, _) | (_, Precision::F64) => Ok(None),
        (_, Precision::F32) => CpuEngine::<f32>::open(compute.bn_splits).map(Some),
        (_, Precision::Bf16) => CpuEngine::<bf16>::open(compute.bn_splits).map(Some),
    }
}

/// The GPU's kernels, for the types and convolutions that they compute with.
#[cfg(feature = "cuda")]
fn gpu_kernels(compute: Compute, device: &Device, network: &Network) -> Result<Option<Box<dyn Engine>>> {
    let element = match (compute.backend, compute.precision) {
        (Backend::Portable | Backend::Cpu, _) | (_, Precision::F64) => return Ok(None),
        (_, Precision::F32) => clsa_cuda::Element::F32,
        (_, Precision::Bf16) => clsa_cuda::Element::Bf16,
    };
    if !device.is_cuda() || !crate::cuda::can_compute(&network.parameters) {
        return Ok(None);
    }
    let ops = clsa_cuda::Ops::new(clsa_cuda::Cuda::of(device)?, element)?;
    Ok(Some(cuda::CudaEngine::open(ops, device, compute.bn_splits)))
}

#[cfg(not(feature = "cuda"))]
fn gpu_kernels(_: Compute, _: &Device, _: &Network) -> Result<Option<Box<dyn Engine>>> {
    Ok(None)
}

/// Kernels that were asked for by name and cannot serve.
fn unable(backend: Backend, needs_candle: bool) -> ModelError {
    let on_gpu = backend == Backend::Cuda;
    let expected = match on_gpu {
        _ if needs_candle => "this backbone asks for Candle's operations; use portable or auto",
        true => {
            "its kernels compute in f32 or bf16 on a GPU, channels in multiples of 8 and convolutions of at most 21 x 21; use \
             portable for anything else"
        }
        false => "the CPU kernels compute in f32 or bf16 on the CPU; use portable for anything else",
    };
    ModelError::config("backend", if on_gpu { "cuda" } else { "cpu" }, expected)
}
