//! One vector type per instruction set, behind one trait, and the run-time choice between them.

/// The instruction sets for which the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust; vectorised by the compiler as far as the target's baseline allows.
    Scalar,
    /// AVX2 with FMA, 8 lanes.
    Avx2,
    /// AVX-512, 16 lanes.
    Avx512,
}

impl Isa {
    /// The best instruction set of this CPU, or the lower one that the environment variable `CLSA_KERNELS` (`avx512`,
    /// `avx2` or `scalar`) asks for.
    ///
    /// # Errors
    /// `CLSA_KERNELS` has another value, which is returned.
    pub fn chosen() -> Result<Self, String> {
        let best = Self::available().last().copied().unwrap_or(Self::Scalar);
        let most = match std::env::var("CLSA_KERNELS").as_deref() {
            Err(_) | Ok("" | "avx512") => Self::Avx512,
            Ok("avx2") => Self::Avx2,
            Ok("scalar") => Self::Scalar,
            Ok(other) => return Err(other.to_owned()),
        };
        Ok(best.min(most))
    }

    /// Lanes of a vector of f32.
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Scalar => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// The instruction sets of this CPU, lowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut sets = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                sets.push(Self::Avx512);
            }
        }
        sets
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
    fn run<V: Simd>(self);
}

/// Runs a kernel with an instruction set that the CPU has.
pub(super) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    match isa {
        // SAFETY: `Isa` values come from `Isa::available`, which asked the CPU.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.run::<Lanes4>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) {
    kernel.run::<x86::Lanes16>();
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
    use super::{MOST_LANES, Simd};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(super) struct Lanes16(__m512);

    #[inline(always)]
    fn first16(n: usize) -> __mmask16 {
        if n >= 16 { !0 } else { (1 << n) - 1 }
    }

    // SAFETY of the bodies: `dispatch` runs them only on a CPU with AVX-512; pointers are the caller's responsibility.
    impl Simd for Lanes16 {
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

    #[derive(Clone, Copy)]
    pub(super) struct Lanes8(__m256);

    /// Eight set words, then eight clear ones: a window into it masks the first lanes.
    static FIRST8: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn first8(n: usize) -> __m256i {
        unsafe { _mm256_loadu_si256(FIRST8.as_ptr().add(8 - n.min(8)).cast()) }
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
