//! The types in which activations are stored: f32, or bf16, which halves memory and its traffic.

use super::simd::Simd;
use half::bf16;

/// A stored number: `f32` or [`half::bf16`]. Kernels load it to vectors of f32 and round to nearest even when they
/// store. Weights, statistics and all sums are f32 or f64 whatever it is.
#[allow(private_bounds)] // nobody else implements it
pub trait Element: Lanes + bytemuck::Pod + Send + Sync {
    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn from_f32(x: f32) -> Self;
    /// The value, exactly.
    fn to_f32(self) -> f32;
}

/// How vectors load and store an element; the conditions of safety are those of [`Simd`].
pub(super) trait Lanes: Copy {
    /// Whether to compile separate AVX512-BF16 versions of kernels on this type.
    const BF16: bool;

    unsafe fn load<V: Simd>(p: *const Self) -> V;
    /// The first `n` lanes; the others are zero.
    unsafe fn load_first<V: Simd>(p: *const Self, n: usize) -> V;
    /// Rounds and stores.
    unsafe fn store<V: Simd>(v: V, p: *mut Self);
    /// Rounds and stores the first `n` lanes.
    unsafe fn store_first<V: Simd>(v: V, p: *mut Self, n: usize);
    /// The value that a load returns after a store.
    unsafe fn round<V: Simd>(v: V) -> V;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

// SAFETY of the bodies, here and below: the caller's.
impl Lanes for f32 {
    const BF16: bool = false;

    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const Self) -> V {
        unsafe { V::load(p) }
    }
    #[inline(always)]
    unsafe fn load_first<V: Simd>(p: *const Self, n: usize) -> V {
        unsafe { V::load_first(p, n) }
    }
    #[inline(always)]
    unsafe fn store<V: Simd>(v: V, p: *mut Self) {
        unsafe { v.store(p) }
    }
    #[inline(always)]
    unsafe fn store_first<V: Simd>(v: V, p: *mut Self, n: usize) {
        unsafe { v.store_first(p, n) }
    }
    #[inline(always)]
    unsafe fn round<V: Simd>(v: V) -> V {
        v
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Lanes for bf16 {
    const BF16: bool = true;

    #[inline(always)]
    unsafe fn load<V: Simd>(p: *const Self) -> V {
        unsafe { V::load_bf16(p) }
    }
    #[inline(always)]
    unsafe fn load_first<V: Simd>(p: *const Self, n: usize) -> V {
        unsafe { V::load_first_bf16(p, n) }
    }
    #[inline(always)]
    unsafe fn store<V: Simd>(v: V, p: *mut Self) {
        unsafe { v.store_bf16(p) }
    }
    #[inline(always)]
    unsafe fn store_first<V: Simd>(v: V, p: *mut Self, n: usize) {
        unsafe { v.store_first_bf16(p, n) }
    }
    #[inline(always)]
    unsafe fn round<V: Simd>(v: V) -> V {
        unsafe { v.round_bf16() }
    }
}

/// A whole vector of elements, or its first lanes.
#[inline(always)]
pub(super) unsafe fn part<E: Lanes, V: Simd>(p: *const E, lanes: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if lanes >= V::LANES { E::load(p) } else { E::load_first(p, lanes) } }
}

/// Stores a whole vector, or its first lanes.
#[inline(always)]
pub(super) unsafe fn write<E: Lanes, V: Simd>(v: V, to: *mut E, lanes: usize) {
    // SAFETY: the caller's.
    unsafe { if lanes >= V::LANES { E::store(v, to) } else { E::store_first(v, to, lanes) } }
}
