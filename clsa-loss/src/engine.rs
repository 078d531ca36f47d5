//! What computes the pass over the candidates: the request, and the engine that it is resolved to.
//!
//! A further engine is a variant of both enums here, and a file beside `portable` and `cpu` with a function from `Queries` to
//! `Statistics`.

use candle_core::{DType, Device};
use clsa_cpu::InstructionSet;
#[cfg(feature = "cuda")]
use clsa_cuda::{Cuda, Element, Ops};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::kernels::Kernels;
use crate::statistics::{Queries, Statistics};
use crate::{LossError, cpu, portable};

/// Which implementation is asked for to compute the pass over keys and bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// `Cpu` for tensors on the CPU; `Cuda` for F32 on a GPU, in a build with the feature `cuda`; `Portable` for others.
    #[default]
    Auto,
    /// Candle operations: any device and dtype.
    Portable,
    /// The operation for CPUs, which streams the candidates through the cache.
    Cpu,
    /// The kernel for GPUs, for views in F32 (F16 and BF16 views become F32); in a build with the feature `cuda`.
    Cuda,
}

/// The implementation that computes the pass.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    /// Candle operations.
    Portable,
    /// The operation for CPUs, with its kernels.
    Cpu(Kernels),
    /// The kernel for GPUs.
    #[cfg(feature = "cuda")]
    Cuda,
}

impl Engine {
    /// The engine of `backend` for rows of a dtype on a device. `CLSA_KERNELS` is read for the CPU's engine only.
    pub fn resolve(backend: Backend, rows: DType, device: &Device) -> Result<Self, LossError> {
        let elsewhere = |expected: &str| LossError::Device {
            argument: "backend".to_string(),
            expected: expected.to_string(),
            got: format!("{:?}", device.location()),
        };
        match backend {
            Backend::Auto | Backend::Cpu if device.is_cpu() => Ok(Self::Cpu(Kernels::new(InstructionSet::chosen()?))),
            Backend::Auto | Backend::Cuda => match Self::cuda(rows, device) {
                Some(engine) => Ok(engine),
                None if backend == Backend::Auto => Ok(Self::Portable),
                None if cfg!(feature = "cuda") => Err(elsewhere("a GPU, with views in F32,")),
                None => Err(elsewhere("a GPU, in a build with the feature `cuda`,")),
            },
            Backend::Portable => Ok(Self::Portable),
            Backend::Cpu => Err(elsewhere("the CPU")),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda(rows: DType, device: &Device) -> Option<Self> {
        (device.is_cuda() && rows == DType::F32).then_some(Self::Cuda)
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_: DType, _: &Device) -> Option<Self> {
        None
    }

    /// The dtype of the statistics of rows of dtype `rows`, F32 or F64.
    pub fn precision(self, rows: DType) -> DType {
        match self {
            Self::Portable => rows,
            Self::Cpu(_) => DType::F64,
            #[cfg(feature = "cuda")]
            Self::Cuda => rows,
        }
    }

    /// One pass over the candidates.
    pub fn statistics(self, queries: &Queries) -> Result<Statistics, LossError> {
        match self {
            Self::Portable => portable::statistics(queries),
            Self::Cpu(kernels) => cpu::statistics(kernels, queries),
            #[cfg(feature = "cuda")]
            Self::Cuda => {
                let ops = Ops::new(Cuda::of(queries.rows.device())?, Element::F32)?;
                Ok(cuda::statistics(&ops, queries, cuda::SCORES)?)
            }
        }
    }
}
