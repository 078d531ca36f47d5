//! Arithmetic in AVX-512 with AVX512-BF16: products of pairs of bf16 numbers, all else as in `avx512`.

use std::arch::x86_64::*;

use super::arithmetic::{Arithmetic, Factors};
use super::avx512::{Avx512, Avx512Wide};
use super::block::{Block, LaneSums, PackedQueries, Scratch};
use super::stream::add_block;

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
    unsafe { add_block::<Avx512Pairs, 8>(queries, block, scratch, sums) }
}

/// Sixteen pairs of bf16 values, or f32 sums of their products.
struct Avx512Pairs;

// SAFETY of all functions below: inlined into the function above, which enables the instructions; the pointers are the
// caller's.
impl Factors for Avx512Pairs {
    type Vector = __m512;
    type Unit = u32;
    const LANES: usize = 16;
    const RUN: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::zero() }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::load(from) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::add(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(sum: __m512, left: __m512, right: *const u32) -> __m512 {
        // SAFETY: as above; the transmutations are between vectors of the same size.
        unsafe {
            let right = _mm512_set1_epi32(right.cast::<i32>().read_unaligned());
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512, __m512bh>(left),
                std::mem::transmute::<__m512i, __m512bh>(right),
            )
        }
    }
}

impl Arithmetic for Avx512Pairs {
    type Wide = Avx512Wide;
    const PAIRED: bool = true;

    #[inline(always)]
    unsafe fn store(to: *mut u32, value: __m512) {
        // SAFETY: as above.
        unsafe { Avx512::store(to, value) }
    }

    #[inline(always)]
    unsafe fn exp2(x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::exp2(x) }
    }

    #[inline(always)]
    unsafe fn exp2_of_sum(whole: __m512, rest: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::exp2_of_sum(whole, rest) }
    }

    #[inline(always)]
    unsafe fn narrow(values: [__m512d; 2]) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::narrow(values) }
    }

    #[inline(always)]
    unsafe fn any_above(x: __m512, limit: f32) -> bool {
        // SAFETY: as above.
        unsafe { Avx512::any_above(x, limit) }
    }

    #[inline(always)]
    unsafe fn max_magnitude(largest: __m512, x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::max_magnitude(largest, x) }
    }

    #[inline(always)]
    unsafe fn count_above(count: __m512, x: __m512, threshold: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { Avx512::count_above(count, x, threshold) }
    }

    #[inline(always)]
    unsafe fn store_weights(to: *mut u32, _: usize, first: __m512, second: __m512, sum: __m512) -> __m512 {
        const fn interleave() -> [i16; 32] {
            let mut index = [0; 32];
            let mut i = 0;
            while i < 16 {
                index[2 * i] = i as i16;
                index[2 * i + 1] = 16 + i as i16;
                i += 1;
            }
            index
        }
        static INTERLEAVE: [i16; 32] = interleave();
        // SAFETY: as above; the transmutations are between vectors of the same size.
        unsafe {
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            let index = _mm512_loadu_epi16(INTERLEAVE.as_ptr());
            let pairs = _mm512_permutexvar_epi16(index, halves);
            _mm512_storeu_si512(to.cast(), pairs);
            let ones = _mm512_set1_epi32(0x3f80_3f80);
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(pairs),
                std::mem::transmute::<__m512i, __m512bh>(ones),
            )
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: as above.
        unsafe { Avx512::prefetch(address) }
    }
}
