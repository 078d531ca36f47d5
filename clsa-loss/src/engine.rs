//! What computes the pass over the candidates: the request, and the engine that it is resolved to.
//!
//! A further engine is a variant of both enums here, and a file beside `portable` and `cpu` with a function from `Queries` to
//! `Statistics`.

use candle_core::{DType, Device};
use clsa_cpu::InstructionSet;

use crate::kernels::Kernels;
use crate::statistics::{Queries, Statistics};
use crate::{LossError, cpu, portable};

/// Which implementation is asked for to compute the pass over keys and bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// `Cpu` for tensors on the CPU, `Portable` for others.
    #[default]
    Auto,
    /// Candle operations: any device and dtype.
    Portable,
    /// The operation for CPUs, which streams the candidates through the cache.
    Cpu,
}

/// The implementation that computes the pass.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    /// Candle operations.
    Portable,
    /// The operation for CPUs, with its kernels.
    Cpu(Kernels),
}

impl Engine {
    /// The engine of `backend` for tensors on `device`. `CLSA_KERNELS` is read for the CPU's engine only.
    pub fn resolve(backend: Backend, device: &Device) -> Result<Self, LossError> {
        match backend {
            Backend::Auto if device.is_cpu() => Self::cpu(),
            Backend::Auto | Backend::Portable => Ok(Self::Portable),
            Backend::Cpu if device.is_cpu() => Self::cpu(),
            Backend::Cpu => Err(LossError::Device {
                argument: "backend".to_string(),
                expected: "the CPU".to_string(),
                got: format!("{:?}", device.location()),
            }),
        }
    }

    fn cpu() -> Result<Self, LossError> {
        Ok(Self::Cpu(Kernels::new(InstructionSet::chosen()?)))
    }

    /// The dtype of the statistics of rows of dtype `rows`, F32 or F64.
    pub fn precision(self, rows: DType) -> DType {
        match self {
            Self::Portable => rows,
            Self::Cpu(_) => DType::F64,
        }
    }

    /// One pass over the candidates.
    pub fn statistics(self, queries: &Queries) -> Result<Statistics, LossError> {
        match self {
            Self::Portable => portable::statistics(queries),
            Self::Cpu(kernels) => cpu::statistics(kernels, queries),
        }
    }
}
