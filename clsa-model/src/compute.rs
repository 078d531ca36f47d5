//! How an encoder is to be computed: the request that a configuration makes.

use serde::{Deserialize, Serialize};

/// Which implementation of the operations is asked for. What an encoder is given is an [`EngineKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Backend {
    /// The device's kernels where they apply (f32 or bf16, a backbone they can compute), portable operations elsewhere.
    #[default]
    Auto,
    /// Candle operations only: any device and any floating-point type, differentiable by Candle.
    Portable,
    /// This crate's CPU kernels.
    Cpu,
    /// The kernels of `clsa-cuda` and cuDNN's convolutions, on a GPU.
    Cuda,
}

/// What computes an encoder's passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// Candle operations.
    Portable,
    /// This crate's CPU kernels.
    Cpu,
    /// The kernels of `clsa-cuda` and cuDNN's convolutions, on a GPU.
    Cuda,
}

/// The arithmetic of a pass. Parameters and statistics are f32 (f64 for [`Precision::F64`]) whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision, for comparisons: portable backend only.
    F64,
    /// Activations and products in bfloat16, sums in f32.
    Bf16,
}

/// How an encoder is computed.
///
/// # Examples
///
/// ```
/// use clsa_model::{Compute, Precision};
///
/// let compute = Compute { precision: Precision::Bf16, ..Compute::default() };
/// # assert_eq!(compute.bn_splits, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// Which implementation.
    pub backend: Backend,
    /// Which arithmetic.
    pub precision: Precision,
    /// Batch norm over this many equal groups of the batch in training, which equals as many ranks (1: the whole batch).
    pub bn_splits: usize,
}

impl Default for Compute {
    fn default() -> Self {
        Self { backend: Backend::Auto, precision: Precision::F32, bn_splits: 1 }
    }
}
