//! Plain Rust, for processors without the instructions of `x86`; the compiler vectorises it for its target.

use super::stream::Arithmetic;

const LANES: usize = 8;

/// Eight f32 values.
pub(super) struct Scalar;

/// Coefficients of 2^x on [-1/2, 1/2], lowest first: relative error below 2e-9 (least maximum, found by reweighted least squares).
pub(super) const EXP2: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993_1, 0.000_153_458_12];

// SAFETY of the functions: plain Rust, whose pointers the caller vouches for.
impl Arithmetic for Scalar {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;
    const PAIRED: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self::Vector {
        // SAFETY: as above.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut u32, value: Self::Vector) {
        // SAFETY: as above.
        unsafe { to.cast::<Self::Vector>().write_unaligned(value) }
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
            sum[l] += left[l] * right;
        }
        sum
    }

    #[inline(always)]
    unsafe fn exp2(x: Self::Vector) -> Self::Vector {
        // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
        const ROUND: f32 = 12_582_912.0;
        let mut result = x;
        for value in &mut result {
            let whole = (*value + ROUND) - ROUND;
            let rest = *value - whole;
            let mut sum = EXP2[6];
            for coefficient in EXP2[..6].iter().rev() {
                sum = sum * rest + coefficient;
            }
            let exponent = (whole as i32).wrapping_add(127) << 23;
            *value = sum * f32::from_bits(exponent as u32);
        }
        result
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
