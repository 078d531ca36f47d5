//! Arithmetic in plain Rust, for processors without the other instruction sets; the compiler vectorizes it for its target.

use super::arithmetic::{Arithmetic, Factors, Wide};

const LANES: usize = 8;

const HALF: usize = LANES / 2;

/// Eight f32 values.
pub(super) struct Scalar;

/// Four f64 values.
pub(super) struct ScalarWide;

/// `a * b + c`, in one rounding on aarch64, whose processors all have an instruction for it; elsewhere it would be a call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Coefficients of 2^x on [-1/2, 1/2], lowest first: relative error below 2e-9 (least maximum, found by reweighted least squares).
pub(super) const EXP2: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993_1, 0.000_153_458_12];

// SAFETY of all functions below: plain Rust; the caller vouches for the pointers.
impl Factors for Scalar {
    type Vector = [f32; LANES];
    type Unit = u32;
    const LANES: usize = LANES;
    const RUN: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Vector {
        // SAFETY: as above.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        let mut sum = a;
        for l in 0..LANES {
            sum[l] += b[l];
        }
        sum
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: Self::Vector, left: Self::Vector, right: *const u32) -> Self::Vector {
        // SAFETY: as above.
        let right = unsafe { right.cast::<f32>().read_unaligned() };
        let mut sum = sum;
        for l in 0..LANES {
            sum[l] = multiply_add(left[l], right, sum[l]);
        }
        sum
    }
}

impl Arithmetic for Scalar {
    type Wide = ScalarWide;
    const PAIRED: bool = false;

    #[inline(always)]
    unsafe fn store(to: *mut u32, value: Self::Vector) {
        // SAFETY: as above.
        unsafe { to.cast::<Self::Vector>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn exp2(x: Self::Vector) -> Self::Vector {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        let whole = x.map(|value| (value + ROUND) - ROUND);
        let mut rest = x;
        for l in 0..LANES {
            rest[l] -= whole[l];
        }
        // SAFETY: as above.
        unsafe { Self::exp2_of_sum(whole, rest) }
    }

    #[inline(always)]
    unsafe fn exp2_of_sum(whole: Self::Vector, rest: Self::Vector) -> Self::Vector {
        let mut result = rest;
        for l in 0..LANES {
            let mut sum = EXP2[6];
            for coefficient in EXP2[..6].iter().rev() {
                sum = multiply_add(sum, rest[l], *coefficient);
            }
            let exponent = (whole[l] as i32).wrapping_add(127) << 23;
            result[l] = sum * f32::from_bits(exponent as u32);
        }
        result
    }

    #[inline(always)]
    unsafe fn narrow([low, high]: [[f64; HALF]; 2]) -> Self::Vector {
        let mut result = [0.0; LANES];
        for l in 0..HALF {
            result[l] = low[l] as f32;
            result[HALF + l] = high[l] as f32;
        }
        result
    }

    #[inline(always)]
    unsafe fn any_above(x: Self::Vector, limit: f32) -> bool {
        x.iter().any(|&value| value > limit)
    }

    #[inline(always)]
    unsafe fn max_magnitude(largest: Self::Vector, x: Self::Vector) -> Self::Vector {
        let mut result = largest;
        for l in 0..LANES {
            result[l] = result[l].max(x[l].abs());
        }
        result
    }

    #[inline(always)]
    unsafe fn count_above(count: Self::Vector, x: Self::Vector, threshold: Self::Vector) -> Self::Vector {
        let mut result = count;
        for l in 0..LANES {
            result[l] += f32::from(u8::from(x[l] > threshold[l]));
        }
        result
    }

    #[inline(always)]
    unsafe fn store_weights(
        to: *mut u32,
        stride: usize,
        first: Self::Vector,
        second: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector {
        // SAFETY: as above.
        unsafe {
            Self::store(to, first);
            Self::store(to.add(stride), second);
            Self::add(sum, Self::add(first, second))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
}

impl Factors for ScalarWide {
    type Vector = [f64; HALF];
    type Unit = f64;
    const LANES: usize = HALF;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; HALF]
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self::Vector {
        // SAFETY: as above.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        let mut sum = a;
        for l in 0..HALF {
            sum[l] += b[l];
        }
        sum
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: Self::Vector, left: Self::Vector, right: *const f64) -> Self::Vector {
        // SAFETY: as above.
        let right = unsafe { right.read_unaligned() };
        let mut sum = sum;
        for l in 0..HALF {
            sum[l] += left[l] * right;
        }
        sum
    }
}

impl Wide for ScalarWide {
    #[inline(always)]
    unsafe fn round(x: Self::Vector) -> Self::Vector {
        // As for f32.
        const ROUND: f64 = 6_755_399_441_055_744.0;
        x.map(|value| (value + ROUND) - ROUND)
    }

    #[inline(always)]
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        let mut difference = a;
        for l in 0..HALF {
            difference[l] -= b[l];
        }
        difference
    }
}
