//! Arithmetic in AVX-512 (F, BW, DQ, VL), with or without products of pairs of bf16 numbers by AVX512-BF16.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::arithmetic::{Arithmetic, Factors, Wide};
use super::block::{Block, LaneSums, PackedQueries, Scratch};
use super::scalar::EXP2;
use super::stream::add_block;

/// `stream::add_block` in AVX-512.
///
/// # Safety
/// As for `stream::add_block`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn add_block_avx512(
    queries: &PackedQueries,
    block: &Block,
    scratch: &mut Scratch,
    sums: &mut LaneSums,
) {
    // SAFETY: the caller's.
    unsafe { add_block::<Avx512<false>, 8>(queries, block, scratch, sums) }
}

/// `stream::add_block` in AVX-512 with AVX512-BF16.
///
/// # Safety
/// As for `stream::add_block`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn add_block_avx512_bf16(
    queries: &PackedQueries,
    block: &Block,
    scratch: &mut Scratch,
    sums: &mut LaneSums,
) {
    // SAFETY: the caller's.
    unsafe { add_block::<Avx512<true>, 8>(queries, block, scratch, sums) }
}

/// Sixteen f32 values; as factors, with `PAIRS`, sixteen pairs of bf16 values.
struct Avx512<const PAIRS: bool>;

/// Eight f64 values.
struct Avx512Wide;

/// Numbers 0, 16, 1, 17, ..: pairs of the numbers of two halves.
static INTERLEAVED: [i16; 32] = {
    let mut index = [0; 32];
    let mut i = 0;
    while i < 16 {
        index[2 * i] = i as i16;
        index[2 * i + 1] = 16 + i as i16;
        i += 1;
    }
    index
};

// SAFETY of all functions below: inlined into `add_block_avx512` or, with `PAIRS`, `add_block_avx512_bf16`, which enable
// the instructions; the pointers are the caller's.
impl<const PAIRS: bool> Factors for Avx512<PAIRS> {
    type Vector = __m512;
    type Unit = u32;
    const LANES: usize = 16;
    const RUN: usize = if PAIRS { usize::MAX } else { 32 };

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512, right: *const u32) -> __m512 {
        // SAFETY: as above; the transmutations are between vectors of the same size.
        unsafe {
            if PAIRS {
                let right = _mm512_set1_epi32(right.cast::<i32>().read_unaligned());
                _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(left), transmute::<__m512i, __m512bh>(right))
            } else {
                _mm512_fmadd_ps(left, _mm512_set1_ps(right.cast::<f32>().read_unaligned()), sum)
            }
        }
    }
}

impl<const PAIRS: bool> Arithmetic for Avx512<PAIRS> {
    type Wide = Avx512Wide;
    const PAIRED: bool = PAIRS;

    #[inline(always)]
    unsafe fn store(to: *mut u32, value: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to.cast(), value) }
    }

    #[inline(always)]
    unsafe fn exp2(x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            Self::exp2_of_sum(whole, _mm512_sub_ps(x, whole))
        }
    }

    #[inline(always)]
    unsafe fn exp2_of_sum(whole: __m512, rest: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let mut sum = _mm512_set1_ps(EXP2[6]);
            for i in (0..6).rev() {
                sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(EXP2[i]));
            }
            _mm512_scalef_ps(sum, whole)
        }
    }

    #[inline(always)]
    unsafe fn narrow([low, high]: [__m512d; 2]) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let (low, high) = (_mm512_cvtpd_ps(low), _mm512_cvtpd_ps(high));
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        }
    }

    #[inline(always)]
    unsafe fn any_above(x: __m512, limit: f32) -> bool {
        // SAFETY: as above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(limit)) != 0 }
    }

    #[inline(always)]
    unsafe fn max_magnitude(largest: __m512, x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(largest, _mm512_abs_ps(x)) }
    }

    #[inline(always)]
    unsafe fn count_above(count: __m512, x: __m512, threshold: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, threshold);
            _mm512_mask_add_ps(count, above, count, _mm512_set1_ps(1.0))
        }
    }

    #[inline(always)]
    unsafe fn store_weights(to: *mut u32, stride: usize, first: __m512, second: __m512, sum: __m512) -> __m512 {
        // SAFETY: as above; the transmutations are between vectors of the same size.
        unsafe {
            if PAIRS {
                let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
                let index = _mm512_loadu_epi16(INTERLEAVED.as_ptr());
                let pairs = _mm512_permutexvar_epi16(index, halves);
                _mm512_storeu_si512(to.cast(), pairs);
                let ones = _mm512_set1_epi32(0x3f80_3f80);
                _mm512_dpbf16_ps(sum, transmute::<__m512i, __m512bh>(pairs), transmute::<__m512i, __m512bh>(ones))
            } else {
                Self::store(to, first);
                Self::store(to.add(stride), second);
                Self::add(sum, Self::add(first, second))
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}

impl Factors for Avx512Wide {
    type Vector = __m512d;
    type Unit = f64;
    const LANES: usize = 8;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_setzero_pd() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_loadu_pd(from) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_add_pd(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512d, left: __m512d, right: *const f64) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_pd(left, _mm512_set1_pd(right.read_unaligned()), sum) }
    }
}

impl Wide for Avx512Wide {
    #[inline(always)]
    unsafe fn round(x: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    unsafe fn subtract(a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: as above.
        unsafe { _mm512_sub_pd(a, b) }
    }
}
