//! What every vector type does: [`Simd`], and [`PairSimd`] where it also multiplies pairs of bf16.

use half::bf16;

/// Lanes of the widest vector.
pub const MOST_LANES: usize = 16;

/// A vector of f32 lanes. The functions are unsafe because they may only run on a CPU with the instruction set (which
/// `dispatch` checks), and because of the pointers.
pub trait Simd: Copy {
    /// Lanes of a vector.
    const LANES: usize;
    /// Rows of a register tile that is two vectors wide: as many as the registers hold.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// The first `n` lanes; the others are zero.
    unsafe fn load_first(p: *const f32, n: usize) -> Self;
    /// Stores the first `n` lanes.
    unsafe fn store_first(self, p: *mut f32, n: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * a + b`, in one rounding where the instruction set has it.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger one; `other` where either is NaN: ReLU is `zero.max(x)`, which keeps NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The lanes of `self` where those of `other` are above zero, zero elsewhere.
    unsafe fn where_positive(self, other: Self) -> Self;
    /// `a` where `self` is above `other` or is NaN, `b` elsewhere.
    unsafe fn select_above(self, other: Self, a: Self, b: Self) -> Self;
    /// As the loads of f32, from bf16.
    unsafe fn load_bf16(p: *const bf16) -> Self;
    unsafe fn load_first_bf16(p: *const bf16, n: usize) -> Self;
    /// As the stores of f32, rounded to the nearest bf16, ties to even. NaN stays NaN.
    unsafe fn store_bf16(self, p: *mut bf16);
    unsafe fn store_first_bf16(self, p: *mut bf16, n: usize);
    /// The values that `store_bf16` stores.
    unsafe fn round_bf16(self) -> Self;
    /// Transposes the square of the first `LANES` vectors.
    unsafe fn transpose(rows: &mut [Self; MOST_LANES]);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's, as for every function of this trait.
        unsafe { Self::splat(0.0) }
    }
}

/// A vector whose lanes also stand for pairs of bf16, the first in the lower half.
pub trait PairSimd: Simd {
    /// `self + left.0 · right.0 + left.1 · right.1` for the pairs of each lane. Products are exact, sums are rounded to
    /// nearest even, and denormal numbers count as zero.
    unsafe fn dot(self, left: Self, right: Self) -> Self;
    /// Pairs of the lanes of two vectors, rounded to bf16.
    unsafe fn pair(first: Self, second: Self) -> Self;
}
