//! The highest speed of this processor's arithmetic, to compare the kernels with.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::element::Element;
use super::multiply::Multiply;
use super::simd::{Kernel, MOST_LANES, PairKernel, PairSimd, Simd, dispatch, dispatch_pairs, lanes};
use clsa_cpu::InstructionSet;
use half::bf16;
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Instant;

/// Sums under way at a time: the latency of a multiplication times how many begin in a cycle, at least.
const SUMS: usize = 12;
const ROUNDS: usize = 1 << 20;
const RUNS: usize = 5;

/// GFLOP/s of multiplications and additions whose operands are all in registers, on all threads of the current rayon
/// pool: those with which the kernels compute on stored elements of a type. The fastest of five runs.
///
/// # Panics
/// The CPU lacks the instruction set.
pub fn peak<E: Element>(instructions: InstructionSet) -> f64 {
    let pairs = E::BF16 && instructions == InstructionSet::Avx512Bf16;
    let flops = (2 * lanes(instructions) * SUMS * ROUNDS * rayon::current_num_threads()) as f64;
    let seconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        rayon::broadcast(|_| {
            if pairs {
                dispatch_pairs(instructions, Multiplications::<bf16>(PhantomData));
            } else {
                dispatch(instructions, Multiplications::<f32>(PhantomData));
            }
        });
        start.elapsed().as_secs_f64()
    });
    flops * if pairs { 2.0 } else { 1.0 } / seconds.fold(f64::MAX, f64::min) / 1e9
}

struct Multiplications<S>(PhantomData<S>);

impl<S> Multiplications<S> {
    #[inline(always)]
    fn run_on<V: Simd>(self)
    where
        S: Multiply<V>,
    {
        // SAFETY: `dispatch` sees to the instruction set; lanes are whole vectors.
        unsafe {
            // The bits of a pair of 0.5 are those of a number near it.
            let (left, right) = (black_box(f32::from_bits(0x3f00_3f00)), black_box(f32::from_bits(0x3e80_3e80)));
            let (left, right) = (V::splat(left), V::splat(right));
            let mut sums = [V::zero(); SUMS];
            for _ in 0..ROUNDS {
                for i in 0..SUMS {
                    sums[i] = S::multiply(left, right, sums[i]);
                }
            }
            let mut lanes = [0.0f32; MOST_LANES];
            for i in 0..SUMS {
                sums[i].store(lanes.as_mut_ptr());
                black_box(&lanes);
            }
        }
    }
}

impl Kernel for Multiplications<f32> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        self.run_on::<V>();
    }
}

impl PairKernel for Multiplications<bf16> {
    #[inline(always)]
    fn run<V: PairSimd>(self) {
        self.run_on::<V>();
    }
}
