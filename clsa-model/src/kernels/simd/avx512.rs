//! Sixteen lanes of AVX-512, with or without its BF16 extension.

use super::vector::{MOST_LANES, PairSimd, Simd};
use half::bf16;
use std::arch::x86_64::*;
use std::mem::transmute;

/// `BF16`: whether the CPU has AVX512-BF16, which rounds to bf16 in one instruction.
#[derive(Clone, Copy)]
pub struct Lanes16<const BF16: bool>(__m512);

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
            // NaN could become infinite: it is cut and made quiet instead.
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
    unsafe fn where_positive(self, other: Self) -> Self {
        unsafe {
            let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(other.0, _mm512_setzero_ps());
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
impl PairSimd for Lanes16<true> {
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
