//! Eight lanes of AVX2 with FMA.

use super::vector::{MOST_LANES, Simd};
use half::bf16;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Lanes8(__m256);

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
    unsafe fn where_positive(self, other: Self) -> Self {
        unsafe {
            let mask = _mm256_cmp_ps::<_CMP_GT_OQ>(other.0, _mm256_setzero_ps());
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
