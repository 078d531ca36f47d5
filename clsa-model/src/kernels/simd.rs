//! One vector type per instruction set, behind one trait, and the run-time choice between them.

use half::bf16;

/// The instruction sets for which the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust; vectorised by the compiler as far as the target's baseline allows.
    Scalar,
    /// AVX2 with FMA, 8 lanes.
    Avx2,
    /// AVX-512 (F and BW), 16 lanes.
    Avx512,
    /// AVX-512 with its BF16 extension, which only kernels on bf16 use.
    Avx512Bf16,
}

impl Isa {
    /// What the environment variable `CLSA_KERNELS` accepts, for messages.
    pub const EXPECTED: &str = "use avx512, avx2 or scalar, and none that this processor lacks";

    /// The best instruction set of this CPU, or the lower one that the environment variable `CLSA_KERNELS` (`avx512`,
    /// without its BF16 extension, `avx2` or `scalar`) asks for.
    ///
    /// # Errors
    /// `CLSA_KERNELS` has another value, which is returned, or names what this CPU lacks.
    pub fn chosen() -> Result<Self, String> {
        let available = Self::available();
        let best = available.last().copied().unwrap_or(Self::Scalar);
        let value = match std::env::var_os("CLSA_KERNELS") {
            Some(value) if !value.is_empty() => value.to_string_lossy().into_owned(),
            _ => return Ok(best),
        };
        let named = match value.as_str() {
            "avx512" => Self::Avx512,
            "avx2" => Self::Avx2,
            "scalar" => Self::Scalar,
            _ => return Err(value),
        };
        if available.contains(&named) { Ok(named) } else { Err(value) }
    }

    /// Lanes of a vector of f32.
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Scalar => 4,
            Self::Avx2 => 8,
            Self::Avx512 | Self::Avx512Bf16 => 16,
        }
    }

    /// The instruction sets of this CPU, lowest first.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Bf16]
            .into_iter()
            .filter(|set| set.is_available())
            .collect()
    }

    /// Whether this CPU has the instruction set. Kernels panic where it has not.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let (avx2, avx512, bf16) = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            (avx2, avx512, avx512 && is_x86_feature_detected!("avx512bf16"))
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (avx2, avx512, bf16) = (false, false, false);
        match self {
            Self::Scalar => true,
            Self::Avx2 => avx2,
            Self::Avx512 => avx512,
            Self::Avx512Bf16 => bf16,
        }
    }
}

/// Lanes of the widest vector.
pub(super) const MOST_LANES: usize = 16;

/// A vector of f32 lanes. The functions are unsafe because they may only run on a CPU with the instruction set (which
/// [`dispatch`] sees to), and because of the pointers.
pub(super) trait Simd: Copy {
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
    /// The larger, and where either is not a number that of `other`: ReLU is `zero.max(x)`, which keeps it.
    unsafe fn max(self, other: Self) -> Self;
    /// The lanes of `self` where `gate` is above zero, zero elsewhere.
    unsafe fn where_positive(self, gate: Self) -> Self;
    /// `a` where `self` is above `other` or is not a number, `b` elsewhere.
    unsafe fn select_above(self, other: Self, a: Self, b: Self) -> Self;
    /// As the loads of f32, from bf16.
    unsafe fn load_bf16(p: *const bf16) -> Self;
    unsafe fn load_first_bf16(p: *const bf16, n: usize) -> Self;
    /// As the stores of f32, rounded to the nearest bf16, ties to even. What is not a number stays so.
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

/// A computation that is compiled for every instruction set. `run` must be `#[inline(always)]`, and so must be
/// everything generic that it calls: else it is not compiled with the instruction set's features.
pub(super) trait Kernel {
    /// Whether it gains from instructions for bf16.
    const BF16: bool = false;

    fn run<V: Simd>(self);
}

/// Runs a kernel with an instruction set.
///
/// # Panics
/// The CPU lacks it.
pub(super) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    assert!(isa.is_available(), "this CPU has no {isa:?}");
    match isa {
        // SAFETY: the CPU has it, as asserted.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 if K::BF16 => unsafe { run_avx512_bf16(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 => unsafe { run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.run::<Lanes4>(),
    }
}

/// A vector whose lanes can also be taken for pairs of bf16, the first in the lower half.
pub(super) trait Pairs: Simd {
    /// `self + left.0 · right.0 + left.1 · right.1` for the pairs of each lane. Products are exact, sums are rounded to
    /// nearest even, and denormal numbers count as zero.
    unsafe fn dot(self, left: Self, right: Self) -> Self;
    /// Pairs of the lanes of two vectors, rounded to bf16.
    unsafe fn pair(first: Self, second: Self) -> Self;
}

/// A computation with pairs of bf16, as [`Kernel`].
pub(super) trait PairKernel {
    fn run<V: Pairs>(self);
}

/// Runs a kernel with products of bf16, which only [`Isa::Avx512Bf16`] has.
pub(super) fn dispatch_pairs<K: PairKernel>(isa: Isa, kernel: K) {
    assert!(isa.is_available(), "this CPU has no {isa:?}");
    match isa {
        // SAFETY: as in `dispatch`.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { run_avx512_pairs(kernel) },
        _ => {
            let _ = kernel;
            unreachable!("{isa:?} has no products of bf16")
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn run_avx512_pairs<K: PairKernel>(kernel: K) {
    kernel.run::<x86::Lanes16<true>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
fn run_avx512_bf16<K: Kernel>(kernel: K) {
    kernel.run::<x86::Lanes16<true>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) {
    kernel.run::<x86::Lanes16<false>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) {
    kernel.run::<x86::Lanes8>();
}

/// Four lanes of plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Lanes4([f32; 4]);

impl Lanes4 {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

// SAFETY of the bodies: the pointers are the caller's responsibility, there is no instruction set to have.
impl Simd for Lanes4 {
    const LANES: usize = 4;
    const ROWS: usize = 6;

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
        self.zip(a, |x, y| x * y).zip(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        self.zip(gate, |x, g| if g > 0.0 { x } else { 0.0 })
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{MOST_LANES, Pairs, Simd};
    use half::bf16;
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// `BF16`: whether the CPU has AVX512-BF16.
    #[derive(Clone, Copy)]
    pub(super) struct Lanes16<const BF16: bool>(__m512);

    impl<const BF16: bool> Lanes16<BF16> {
        #[inline(always)]
        unsafe fn widen(v: __m256i) -> Self {
            unsafe { Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v)))) }
        }

        /// The nearest bf16 in the upper half of each lane; the lower half is what is left.
        #[inline(always)]
        unsafe fn nearest(self) -> __m512i {
            unsafe {
                let bits = _mm512_castps_si512(self.0);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
                // What is not a number could become infinite: it is cut and made quiet instead.
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x0040_0000))
            }
        }

        #[inline(always)]
        unsafe fn narrow(self) -> __m256i {
            unsafe {
                if BF16 {
                    // SAFETY: both are 256 bits.
                    transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0))
                } else {
                    _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(self.nearest()))
                }
            }
        }
    }

    #[inline(always)]
    fn first16(n: usize) -> __mmask16 {
        if n >= 16 { !0 } else { (1 << n) - 1 }
    }

    // SAFETY of the bodies: `dispatch` runs them only on a CPU with AVX-512; pointers are the caller's responsibility.
    impl<const BF16: bool> Simd for Lanes16<BF16> {
        const LANES: usize = 16;
        const ROWS: usize = 14;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> Self {
            Self(unsafe { _mm512_maskz_loadu_ps(first16(n), p) })
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(p, first16(n), self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, a.0, b.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, gate: Self) -> Self {
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps());
                Self(_mm512_maskz_mov_ps(mask, self.0))
            }
        }
        #[inline(always)]
        unsafe fn select_above(self, other: Self, a: Self, b: Self) -> Self {
            unsafe {
                let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0);
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm512_mask_blend_ps(above | nan, b.0, a.0))
            }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const bf16) -> Self {
            unsafe { Self::widen(_mm256_loadu_si256(p.cast())) }
        }
        #[inline(always)]
        unsafe fn load_first_bf16(p: *const bf16, n: usize) -> Self {
            unsafe {
                let v = _mm512_maskz_loadu_epi16(u32::from(first16(n)), p.cast());
                Self::widen(_mm512_castsi512_si256(v))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, p: *mut bf16) {
            unsafe { _mm256_storeu_si256(p.cast(), self.narrow()) }
        }
        #[inline(always)]
        unsafe fn store_first_bf16(self, p: *mut bf16, n: usize) {
            unsafe {
                let v = _mm512_castsi256_si512(self.narrow());
                _mm512_mask_storeu_epi16(p.cast(), u32::from(first16(n)), v);
            }
        }
        #[inline(always)]
        unsafe fn round_bf16(self) -> Self {
            unsafe {
                if BF16 {
                    Self::widen(self.narrow())
                } else {
                    let upper = _mm512_and_si512(self.nearest(), _mm512_set1_epi32(0xffff_0000u32 as i32));
                    Self(_mm512_castsi512_ps(upper))
                }
            }
        }
        #[inline(always)]
        unsafe fn transpose(rows: &mut [Self; MOST_LANES]) {
            unsafe {
                // Within every group of four rows: 4x4 blocks of each 128-bit lane.
                let mut blocks = *rows;
                for g in (0..16).step_by(4) {
                    let (a, b) = (rows[g].0, rows[g + 1].0);
                    let (c, d) = (rows[g + 2].0, rows[g + 3].0);
                    let low = |x, y| _mm512_castps_pd(_mm512_unpacklo_ps(x, y));
                    let high = |x, y| _mm512_castps_pd(_mm512_unpackhi_ps(x, y));
                    blocks[g] = Self(_mm512_castpd_ps(_mm512_unpacklo_pd(low(a, b), low(c, d))));
                    blocks[g + 1] = Self(_mm512_castpd_ps(_mm512_unpackhi_pd(low(a, b), low(c, d))));
                    blocks[g + 2] = Self(_mm512_castpd_ps(_mm512_unpacklo_pd(high(a, b), high(c, d))));
                    blocks[g + 3] = Self(_mm512_castpd_ps(_mm512_unpackhi_pd(high(a, b), high(c, d))));
                }
                // Then the 128-bit lanes, a 4x4 transpose of blocks for each column of the 4x4 blocks.
                for c in 0..4 {
                    let even_low = _mm512_shuffle_f32x4::<0x88>(blocks[c].0, blocks[4 + c].0);
                    let odd_low = _mm512_shuffle_f32x4::<0xdd>(blocks[c].0, blocks[4 + c].0);
                    let even_high = _mm512_shuffle_f32x4::<0x88>(blocks[8 + c].0, blocks[12 + c].0);
                    let odd_high = _mm512_shuffle_f32x4::<0xdd>(blocks[8 + c].0, blocks[12 + c].0);
                    rows[c] = Self(_mm512_shuffle_f32x4::<0x88>(even_low, even_high));
                    rows[8 + c] = Self(_mm512_shuffle_f32x4::<0xdd>(even_low, even_high));
                    rows[4 + c] = Self(_mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
                    rows[12 + c] = Self(_mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high));
                }
            }
        }
    }

    /// Elements 0, 16, 1, 17, ..: pairs of the elements of two halves.
    static INTERLEAVED: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };

    // SAFETY of the bodies: `dispatch_pairs` runs them only on a CPU with AVX512-BF16. Registers of 512 bits, whatever
    // their elements.
    impl Pairs for Lanes16<true> {
        #[inline(always)]
        unsafe fn dot(self, left: Self, right: Self) -> Self {
            unsafe {
                let left = transmute::<__m512, __m512bh>(left.0);
                let right = transmute::<__m512, __m512bh>(right.0);
                Self(_mm512_dpbf16_ps(self.0, left, right))
            }
        }
        #[inline(always)]
        unsafe fn pair(first: Self, second: Self) -> Self {
            unsafe {
                let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second.0, first.0));
                let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
                Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves)))
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Lanes8(__m256);

    /// Eight set words, then eight clear ones: a window into it masks the first lanes.
    static FIRST8: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn first8(n: usize) -> __m256i {
        unsafe { _mm256_loadu_si256(FIRST8.as_ptr().add(8 - n.min(8)).cast()) }
    }

    impl Lanes8 {
        /// As for 16 lanes.
        #[inline(always)]
        unsafe fn nearest(self) -> __m256i {
            unsafe {
                let bits = _mm256_castps_si256(self.0);
                let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
                let up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
                let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
                _mm256_blendv_epi8(up, _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000)), nan)
            }
        }
    }

    // SAFETY of the bodies: `dispatch` runs them only on a CPU with AVX2 and FMA; pointers are the caller's responsibility.
    impl Simd for Lanes8 {
        const LANES: usize = 8;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, n: usize) -> Self {
            Self(unsafe { _mm256_maskload_ps(p, first8(n)) })
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, n: usize) {
            unsafe { _mm256_maskstore_ps(p, first8(n), self.0) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, a.0, b.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            Self(unsafe { _mm256_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, gate: Self) -> Self {
            unsafe {
                let mask = _mm256_cmp_ps::<_CMP_GT_OQ>(gate.0, _mm256_setzero_ps());
                Self(_mm256_and_ps(mask, self.0))
            }
        }
        #[inline(always)]
        unsafe fn select_above(self, other: Self, a: Self, b: Self) -> Self {
            unsafe {
                let above = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0);
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm256_blendv_ps(b.0, a.0, _mm256_or_ps(above, nan)))
            }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const bf16) -> Self {
            unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
            }
        }
        #[inline(always)]
        unsafe fn load_first_bf16(p: *const bf16, n: usize) -> Self {
            let mut first = [bf16::ZERO; 8];
            unsafe {
                first.as_mut_ptr().copy_from_nonoverlapping(p, n.min(8));
                Self::load_bf16(first.as_ptr())
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, p: *mut bf16) {
            unsafe {
                let upper = _mm256_srli_epi32::<16>(self.nearest());
                // Packing is within halves of 128 bits, of which the first and third quarter are wanted.
                let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(upper, upper));
                _mm_storeu_si128(p.cast(), _mm256_castsi256_si128(packed));
            }
        }
        #[inline(always)]
        unsafe fn store_first_bf16(self, p: *mut bf16, n: usize) {
            let mut all = [bf16::ZERO; 8];
            unsafe {
                self.store_bf16(all.as_mut_ptr());
                p.copy_from_nonoverlapping(all.as_ptr(), n.min(8));
            }
        }
        #[inline(always)]
        unsafe fn round_bf16(self) -> Self {
            unsafe {
                let upper = _mm256_and_si256(self.nearest(), _mm256_set1_epi32(0xffff_0000u32 as i32));
                Self(_mm256_castsi256_ps(upper))
            }
        }
        #[inline(always)]
        unsafe fn transpose(rows: &mut [Self; MOST_LANES]) {
            unsafe {
                let mut blocks = *rows;
                for g in (0..8).step_by(4) {
                    let (a, b) = (rows[g].0, rows[g + 1].0);
                    let (c, d) = (rows[g + 2].0, rows[g + 3].0);
                    let low = |x, y| _mm256_castps_pd(_mm256_unpacklo_ps(x, y));
                    let high = |x, y| _mm256_castps_pd(_mm256_unpackhi_ps(x, y));
                    blocks[g] = Self(_mm256_castpd_ps(_mm256_unpacklo_pd(low(a, b), low(c, d))));
                    blocks[g + 1] = Self(_mm256_castpd_ps(_mm256_unpackhi_pd(low(a, b), low(c, d))));
                    blocks[g + 2] = Self(_mm256_castpd_ps(_mm256_unpacklo_pd(high(a, b), high(c, d))));
                    blocks[g + 3] = Self(_mm256_castpd_ps(_mm256_unpackhi_pd(high(a, b), high(c, d))));
                }
                for c in 0..4 {
                    rows[c] = Self(_mm256_permute2f128_ps::<0x20>(blocks[c].0, blocks[4 + c].0));
                    rows[4 + c] = Self(_mm256_permute2f128_ps::<0x31>(blocks[c].0, blocks[4 + c].0));
                }
            }
        }
    }
}
