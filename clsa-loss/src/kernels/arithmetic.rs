//! The vector operations that the loops are written with, one implementation for each instruction set.

/// Vectors whose lanes are all multiplied by the same number: what a matrix product needs.
///
/// # Safety
/// The caller of any function has checked that the processor has its instructions.
pub(super) trait Factors {
    /// A register.
    type Vector: Copy;
    /// What a lane of a factor holds.
    type Unit;
    /// Units in a vector.
    const LANES: usize;
    /// Products that are added up one after the other, before the sums of such runs are added: many short sums round less than
    /// one long sum.
    const RUN: usize;
    /// Zero in every lane.
    unsafe fn zero() -> Self::Vector;
    /// A vector of consecutive units, which need not be aligned.
    unsafe fn load(from: *const Self::Unit) -> Self::Vector;
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum + left * right` for a vector of units and one unit, which need not be aligned.
    unsafe fn multiply_add(sum: Self::Vector, left: Self::Vector, right: *const Self::Unit) -> Self::Vector;
}

/// Vectors of f64, half as many as `Arithmetic` has of f32.
///
/// # Safety
/// As for `Factors`.
pub(super) trait Wide: Factors<Unit = f64> {
    /// Rounds to the nearest integers, ties to even.
    unsafe fn round(x: Self::Vector) -> Self::Vector;
    /// `a - b`.
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Vectors of f32 with all the arithmetic of the loops.
///
/// A unit is 32 bits: one f32, or a pair of bf16 numbers that are multiplied by another pair and added up in f32.
///
/// # Safety
/// As for `Factors`.
pub(super) trait Arithmetic: Factors<Unit = u32> {
    /// For the scores of steep tiles.
    type Wide: Wide;
    /// Whether a unit is a pair of bf16 numbers.
    const PAIRED: bool;
    /// Writes a vector to consecutive units, which need not be aligned.
    unsafe fn store(to: *mut u32, value: Self::Vector);
    /// 2 to the power of each value, for values within `LIMIT`.
    unsafe fn exp2(x: Self::Vector) -> Self::Vector;
    /// 2 to the power of `whole + rest`, for integers within `LIMIT` and rests within 1/2.
    unsafe fn exp2_of_sum(whole: Self::Vector, rest: Self::Vector) -> Self::Vector;
    /// The values of two wide vectors, rounded.
    unsafe fn narrow(values: [<Self::Wide as Factors>::Vector; 2]) -> Self::Vector;
    /// Whether any value is above `limit`.
    unsafe fn any_above(x: Self::Vector, limit: f32) -> bool;
    /// The larger of `largest` and the magnitude of `x`.
    unsafe fn max_magnitude(largest: Self::Vector, x: Self::Vector) -> Self::Vector;
    /// `count`, plus one where `x` is above `threshold`.
    unsafe fn count_above(count: Self::Vector, x: Self::Vector, threshold: Self::Vector) -> Self::Vector;
    /// Stores the weights of two neighboring candidates as units, the second `stride` units after the first or in the
    /// same units, and adds them, as stored, to `sum`.
    unsafe fn store_weights(
        to: *mut u32,
        stride: usize,
        first: Self::Vector,
        second: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector;
    /// Fetches the cache line of an address into the second-level cache, where the processor can.
    unsafe fn prefetch(address: *const u8);
}
