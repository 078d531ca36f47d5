//! Runs a kernel with the vector type of an instruction set.

#[cfg(target_arch = "x86_64")]
use super::avx2::Lanes8;
#[cfg(target_arch = "x86_64")]
use super::avx512::Lanes16;
use super::scalar::Lanes4;
use super::vector::{PairSimd, Simd};
use clsa_cpu::InstructionSet;

/// Lanes of a vector of f32 of an instruction set.
pub fn lanes(instructions: InstructionSet) -> usize {
    match instructions {
        InstructionSet::Scalar => 4,
        InstructionSet::Avx2 => 8,
        InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => 16,
    }
}

/// A computation that is compiled for every instruction set. `run` must be `#[inline(always)]`, and so must be
/// everything generic that it calls: else it is not compiled with the instruction set's features.
pub trait Kernel {
    /// Whether to compile a separate AVX512-BF16 version.
    const BF16: bool = false;

    fn run<V: Simd>(self);
}

/// Runs a kernel with an instruction set.
///
/// # Panics
/// The CPU lacks it.
pub fn dispatch<K: Kernel>(instructions: InstructionSet, kernel: K) {
    assert!(instructions.is_available(), "this CPU has no {instructions:?}");
    match instructions {
        InstructionSet::Scalar => kernel.run::<Lanes4>(),
        // SAFETY: the CPU has it, as asserted.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Bf16 if K::BF16 => unsafe { run_avx512_bf16(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => unsafe { run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { run_avx2(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        InstructionSet::Avx2 | InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => {
            unreachable!("no other processor has {instructions:?}")
        }
    }
}

/// A computation with pairs of bf16, as [`Kernel`].
pub trait PairKernel {
    fn run<V: PairSimd>(self);
}

/// Runs a kernel with products of bf16.
///
/// # Panics
/// The CPU lacks the instruction set, or it is not [`InstructionSet::Avx512Bf16`], the only one with such products.
pub fn dispatch_pairs<K: PairKernel>(instructions: InstructionSet, kernel: K) {
    assert!(instructions.is_available(), "this CPU has no {instructions:?}");
    match instructions {
        // SAFETY: as in `dispatch`.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Bf16 => unsafe { run_avx512_pairs(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        InstructionSet::Avx512Bf16 => {
            let _ = kernel;
            unreachable!("no other processor has {instructions:?}")
        }
        InstructionSet::Scalar | InstructionSet::Avx2 | InstructionSet::Avx512 => {
            unreachable!("{instructions:?} has no products of bf16")
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn run_avx512_pairs<K: PairKernel>(kernel: K) {
    kernel.run::<Lanes16<true>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn run_avx512_bf16<K: Kernel>(kernel: K) {
    kernel.run::<Lanes16<true>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) {
    kernel.run::<Lanes16<false>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) {
    kernel.run::<Lanes8>();
}
