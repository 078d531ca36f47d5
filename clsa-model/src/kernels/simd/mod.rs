//! One vector type per instruction set, behind one trait, and the run-time choice between them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dispatch;
mod scalar;
mod vector;

pub(super) use dispatch::{Kernel, PairKernel, dispatch, dispatch_pairs, lanes};
pub(super) use vector::{MOST_LANES, PairSimd, Simd};
