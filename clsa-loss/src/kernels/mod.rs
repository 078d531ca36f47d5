//! The inner loops of the CPU operation, for the instruction sets of this processor.
//!
//! Queries lie across the lanes of a vector: the scores of a group of queries with a tile of candidates, their exponentials and
//! the sum of candidates weighted with them are all formed lane by lane, and the candidates are read in the bank's own
//! row-major layout, one number at a time for all queries of the group.
//!
//! This folder is the only one of the crate with unsafe code: vector intrinsics, and raw pointers in the loops around them.
#![allow(unsafe_code)]

mod scalar;
mod stream;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use stream::{BLOCK, Block, LIMIT, PackedQueries, Scratch, Sums, TILE};
pub(crate) use wide::multiply_f64;

use crate::LossError;

/// The vector instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// AVX-512 (F, BW, DQ, VL) with the products of bf16 pairs.
    Avx512Bf16,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// Whatever the compiler targets.
    Scalar,
}

impl Kernels {
    /// The best that this processor has, or what the environment variable `CLSA_KERNELS` forces: `avx512` (without bf16), `avx2` or
    /// `scalar`.
    pub fn detect() -> Result<Self, LossError> {
        let best = Self::best();
        match std::env::var("CLSA_KERNELS") {
            Err(_) => Ok(best),
            Ok(value) => match (value.as_str(), best) {
                ("avx512", Self::Avx512Bf16 | Self::Avx512) => Ok(Self::Avx512),
                ("avx2", Self::Avx512Bf16 | Self::Avx512 | Self::Avx2) => Ok(Self::Avx2),
                ("scalar", _) => Ok(Self::Scalar),
                _ => Err(LossError::Kernels { value }),
            },
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (avx512, avx2) {
            (true, _) if is_x86_feature_detected!("avx512bf16") => Self::Avx512Bf16,
            (true, _) => Self::Avx512,
            (_, true) => Self::Avx2,
            _ => Self::Scalar,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Scalar
    }

    /// Queries in a group: two vectors.
    pub fn group(self) -> usize {
        match self {
            Self::Avx512Bf16 | Self::Avx512 => 32,
            Self::Avx2 | Self::Scalar => 16,
        }
    }

    /// Whether pairs of bf16 numbers are multiplied as such.
    pub fn multiplies_bf16(self) -> bool {
        self == Self::Avx512Bf16
    }

    /// Adds the candidates of `block` to `sums`.
    pub fn add_block(self, queries: &PackedQueries, block: &Block, scratch: &mut Scratch, sums: &mut Sums) {
        stream::check(self.group(), queries, block, scratch, sums);
        assert!(!block.paired || self.multiplies_bf16());
        // SAFETY: `check` has compared every length with what the loops read and write, and `best` has found the instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 if block.paired => x86::add_block_avx512_bf16(queries, block, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 | Self::Avx512 => x86::add_block_avx512(queries, block, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::add_block_avx2(queries, block, scratch, sums),
                _ => stream::add_block::<scalar::Scalar, 4>(queries, block, scratch, sums),
            }
        }
    }
}
