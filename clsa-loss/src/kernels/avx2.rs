//! Arithmetic in AVX2 with FMA.

use std::arch::x86_64::*;

use super::arithmetic::{Arithmetic, Factors, Wide};
use super::block::{Block, LaneSums, PackedQueries, Scratch};
use super::scalar::EXP2;
use super::stream::add_block;

/// `stream::add_block` in AVX2 with FMA.
///
/// # Safety
/// As for `stream::add_block`.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add_block_avx2(
    queries: &PackedQueries,
    block: &Block,
    scratch: &mut Scratch,
    sums: &mut LaneSums,
) {
    // SAFETY: the caller's.
    unsafe { add_block::<Avx2, 4>(queries, block, scratch, sums) }
}

/// Eight f32 values.
struct Avx2;

/// Four f64 values.
struct Avx2Wide;

// SAFETY of all functions below: inlined into the function above, which enables the instructions; the pointers are the
// caller's.
impl Factors for Avx2 {
    type Vector = __m256;
    type Unit = u32;
    const LANES: usize = 8;
    const RUN: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m256, left: __m256, right: *const u32) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(left, _mm256_set1_ps(right.cast::<f32>().read_unaligned()), sum) }
    }
}

impl Arithmetic for Avx2 {
    type Wide = Avx2Wide;
    const PAIRED: bool = false;

    #[inline(always)]
    unsafe fn store(to: *mut u32, value: __m256) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn exp2(x: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            Self::exp2_of_sum(whole, _mm256_sub_ps(x, whole))
        }
    }

    #[inline(always)]
    unsafe fn exp2_of_sum(whole: __m256, rest: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let mut sum = _mm256_set1_ps(EXP2[6]);
            for i in (0..6).rev() {
                sum = _mm256_fmadd_ps(sum, rest, _mm256_set1_ps(EXP2[i]));
            }
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
            _mm256_mul_ps(sum, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }

    #[inline(always)]
    unsafe fn narrow([low, high]: [__m256d; 2]) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low)) }
    }

    #[inline(always)]
    unsafe fn any_above(x: __m256, limit: f32) -> bool {
        // SAFETY: as above.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(limit))) != 0 }
    }

    #[inline(always)]
    unsafe fn max_magnitude(largest: __m256, x: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe { _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0), x)) }
    }

    #[inline(always)]
    unsafe fn count_above(count: __m256, x: __m256, threshold: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            let above = _mm256_cmp_ps::<_CMP_GT_OQ>(x, threshold);
            _mm256_add_ps(count, _mm256_and_ps(above, _mm256_set1_ps(1.0)))
        }
    }

    #[inline(always)]
    unsafe fn store_weights(to: *mut u32, stride: usize, first: __m256, second: __m256, sum: __m256) -> __m256 {
        // SAFETY: as above.
        unsafe {
            Self::store(to, first);
            Self::store(to.add(stride), second);
            Self::add(sum, Self::add(first, second))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}

impl Factors for Avx2Wide {
    type Vector = __m256d;
    type Unit = f64;
    const LANES: usize = 4;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_setzero_pd() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_loadu_pd(from) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256d, b: __m256d) -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_add_pd(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m256d, left: __m256d, right: *const f64) -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_pd(left, _mm256_set1_pd(right.read_unaligned()), sum) }
    }
}

impl Wide for Avx2Wide {
    #[inline(always)]
    unsafe fn round(x: __m256d) -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    unsafe fn subtract(a: __m256d, b: __m256d) -> __m256d {
        // SAFETY: as above.
        unsafe { _mm256_sub_pd(a, b) }
    }
}
