//! The inner loops of the CPU operation, for the instruction sets of this processor.
//!
//! Queries lie across the lanes of a vector: the scores of a group of queries with a tile of candidates, their exponentials and
//! the sum of candidates weighted with them are all formed lane by lane, and the candidates are read in the bank's own
//! row-major layout, one number at a time for all queries of the group.
//!
//! This folder is the only one of the crate with unsafe code: vector intrinsics, and raw pointers in the loops around them.
#![allow(unsafe_code)]

mod arithmetic;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod columns;
pub(crate) mod f64_product;
mod scalar;
mod stream;
#[cfg(test)]
mod tests;

use clsa_cpu::InstructionSet;

pub(crate) use block::{BLOCK, Block, LIMIT, LaneSums, PackedQueries, Scratch};

/// The kernels of an instruction set that this processor has; there is no other way to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels(InstructionSet);

impl Kernels {
    /// The kernels of `set`.
    ///
    /// # Panics
    /// If this processor lacks the instruction set.
    pub fn new(set: InstructionSet) -> Self {
        assert!(set.is_available(), "this processor has no {set}");
        Self(set)
    }

    /// Queries in a group: two vectors.
    pub fn group(self) -> usize {
        match self.0 {
            InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => 32,
            InstructionSet::Avx2 | InstructionSet::Scalar => 16,
        }
    }

    /// Whether pairs of bf16 numbers are multiplied as such.
    pub fn multiplies_bf16(self) -> bool {
        self.0 == InstructionSet::Avx512Bf16
    }

    /// Adds the candidates of `block` to `sums`.
    ///
    /// # Panics
    /// If a length does not fit the others, or the block holds pairs of bf16 numbers and [`multiplies_bf16`](Self::multiplies_bf16)
    /// is false.
    pub fn add_block(self, queries: &PackedQueries, block: &Block, scratch: &mut Scratch, sums: &mut LaneSums) {
        block::check_lengths(self.group(), queries, block, scratch, sums);
        assert!(!block.paired || self.multiplies_bf16());
        // SAFETY: `check_lengths` has compared every length with what the loops read and write, and `new` has asked the
        // processor for the instructions.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512Bf16 if block.paired => {
                    avx512::add_block_avx512_bf16(queries, block, scratch, sums);
                }
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => {
                    avx512::add_block_avx512(queries, block, scratch, sums);
                }
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx2 => avx2::add_block_avx2(queries, block, scratch, sums),
                #[cfg(not(target_arch = "x86_64"))]
                InstructionSet::Avx512Bf16 | InstructionSet::Avx512 | InstructionSet::Avx2 => {
                    unreachable!("`new` has found that this processor lacks {}", self.0)
                }
                InstructionSet::Scalar => stream::add_block::<scalar::Scalar, 4>(queries, block, scratch, sums),
            }
        }
    }
}
