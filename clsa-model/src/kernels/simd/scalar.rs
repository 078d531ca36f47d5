//! Four lanes of plain Rust, which the compiler vectorizes as far as the target allows: with NEON on aarch64.

use super::vector::{MOST_LANES, Simd};
use half::bf16;

/// Every such processor has 32 registers, and multiplies and adds in one instruction, which elsewhere would be a call.
const IS_AARCH64: bool = cfg!(target_arch = "aarch64");

/// Four lanes of plain Rust.
#[derive(Clone, Copy)]
pub struct Lanes4([f32; 4]);

impl Lanes4 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY of the bodies: the pointers are the caller's responsibility, there is no instruction set to have.
impl Simd for Lanes4 {
    const LANES: usize = 4;
    const ROWS: usize = if IS_AARCH64 { 12 } else { 6 };

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller gives four readable elements.
        Self(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller gives four writable elements.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller gives `n` readable elements.
        Self(std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        for (i, x) in self.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller gives `n` writable elements.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        if IS_AARCH64 {
            return Self(std::array::from_fn(|i| self.0[i].mul_add(a.0[i], b.0[i])));
        }
        self.zip(a, |x, y| x * y).zip(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn where_positive(self, other: Self) -> Self {
        self.zip(other, |x, y| if y > 0.0 { x } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn select_above(self, other: Self, a: Self, b: Self) -> Self {
        let above = |i: usize| self.0[i] > other.0[i] || self.0[i].is_nan();
        Self(std::array::from_fn(|i| if above(i) { a.0[i] } else { b.0[i] }))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: the caller gives four readable elements.
        Self(unsafe { p.cast::<[bf16; 4]>().read_unaligned() }.map(bf16::to_f32))
    }
    #[inline(always)]
    unsafe fn load_first_bf16(p: *const bf16, n: usize) -> Self {
        // SAFETY: the caller gives `n` readable elements.
        Self(std::array::from_fn(|i| if i < n { unsafe { *p.add(i) }.to_f32() } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16) {
        // SAFETY: the caller gives four writable elements.
        unsafe { p.cast::<[bf16; 4]>().write_unaligned(self.0.map(bf16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn store_first_bf16(self, p: *mut bf16, n: usize) {
        for (i, x) in self.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller gives `n` writable elements.
            unsafe { *p.add(i) = bf16::from_f32(x) }
        }
    }
    #[inline(always)]
    unsafe fn round_bf16(self) -> Self {
        Self(self.0.map(|x| bf16::from_f32(x).to_f32()))
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MOST_LANES]) {
        for i in 0..4 {
            for j in 0..i {
                let (upper, lower) = (rows[j].0[i], rows[i].0[j]);
                (rows[j].0[i], rows[i].0[j]) = (lower, upper);
            }
        }
    }
}
