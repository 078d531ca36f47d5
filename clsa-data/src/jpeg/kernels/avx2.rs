//! The inverse transform with AVX2, whose steps are those of libjpeg-turbo's `jidctint-avx2.asm`: two rows of sixteen-bit
//! numbers in a register, the first named one in its lower half.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::portable::factor::*;
use super::{Block, Extent, Inverse, Samples};

/// The transform, if this processor has AVX2.
pub(super) fn inverse() -> Option<Inverse> {
    fn inverse(coefficients: &Block, quantizers: &Block, extent: Extent) -> Samples {
        // SAFETY: only the function around this one returns it, and only where AVX2 was found.
        unsafe { transform(coefficients, quantizers, extent) }
    }
    is_x86_feature_detected!("avx2").then_some(inverse)
}

/// The samples of a block.
#[target_feature(enable = "avx2")]
fn transform(coefficients: &Block, quantizers: &Block, extent: Extent) -> Samples {
    let product = |pair| _mm256_mullo_epi16(rows(coefficients, pair), rows(quantizers, pair));
    let row01 = product(0);
    let columns = if extent.is_row() {
        // This shortcut overflows otherwise than the whole transform does.
        [_mm256_slli_epi16::<2>(_mm256_permute2x128_si256::<0x00>(row01, row01)); 4]
    } else {
        let (row23, row45, row67) = (product(1), product(2), product(3));
        let row04 = _mm256_permute2x128_si256::<0x20>(row01, row45);
        let row31 = _mm256_permute2x128_si256::<0x31>(row23, row01);
        let row26 = _mm256_permute2x128_si256::<0x20>(row23, row67);
        let row75 = _mm256_permute2x128_si256::<0x31>(row67, row45);
        pass::<11>([row04, row31, row26, row75])
    };
    let [row04, row15, row26, row37] = transposed(columns);
    let row31 = _mm256_permute2x128_si256::<0x20>(row37, row15);
    let row75 = _mm256_permute2x128_si256::<0x31>(row37, row15);
    let [row04, row15, row26, row37] = transposed(pass::<18>([row04, row31, row26, row75]));
    let center = _mm256_set1_epi8(-128);
    let row0145 = _mm256_add_epi8(_mm256_packs_epi16(row04, row15), center);
    let row2367 = _mm256_add_epi8(_mm256_packs_epi16(row26, row37), center);
    let mut samples = Samples::default();
    let place = samples.as_mut_ptr().cast::<__m256i>();
    // SAFETY: the samples are 64 bytes, and the stores need no alignment.
    unsafe {
        _mm256_storeu_si256(place, _mm256_permute2x128_si256::<0x20>(row0145, row2367));
        _mm256_storeu_si256(place.add(1), _mm256_permute2x128_si256::<0x31>(row0145, row2367));
    }
    samples
}

/// The rows 2 * `pair` and 2 * `pair` + 1.
#[target_feature(enable = "avx2")]
#[inline]
fn rows(block: &Block, pair: usize) -> __m256i {
    let (rows, _) = block.0.as_chunks::<16>();
    // SAFETY: a chunk is 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(rows[pair].as_ptr().cast()) }
}

/// Transforms each of the eight columns, and divides by 2 to the `SHIFT`: from the rows 0 and 4, 3 and 1, 2 and 6, 7 and 5
/// to the rows 0 and 1, 3 and 2, 4 and 5, 7 and 6.
#[target_feature(enable = "avx2")]
#[inline]
fn pass<const SHIFT: i32>([row04, row31, row26, row75]: [__m256i; 4]) -> [__m256i; 4] {
    // The even part: the sum and the difference of the rows 0 and 4, times 8192, and what the rows 2 and 6 add to them.
    let signs = _mm256_setr_m128i(_mm_set1_epi16(1), _mm_set1_epi16(-1));
    let sum = _mm256_add_epi16(swapped(row04), _mm256_sign_epi16(row04, signs));
    let zero = _mm256_setzero_si256();
    let low = _mm256_srai_epi32::<3>(_mm256_unpacklo_epi16(zero, sum));
    let high = _mm256_srai_epi32::<3>(_mm256_unpackhi_epi16(zero, sum));
    let outer_inner = products([row26, swapped(row26)], [F0_541 + F0_765, F0_541, F0_541 - F1_847, F0_541]);
    let even01 = added([low, high], outer_inner);
    let even32 = subtracted([low, high], outer_inner);
    // The odd part.
    let z34 = _mm256_add_epi16(row75, row31);
    let z34 = products([z34, swapped(z34)], [F1_175 - F1_961, F1_175, F1_175 - F0_390, F1_175]);
    let row13 = swapped(row31);
    let odd32 = products([row75, row13], [F0_298 - F0_899, -F0_899, F2_053 - F2_562, -F2_562]);
    let odd32 = added(odd32, z34);
    let odd01 = products([row75, row13], [-F0_899, F1_501 - F0_899, -F2_562, F3_072 - F2_562]);
    let odd01 = added(odd01, [swapped(z34[0]), swapped(z34[1])]);
    [
        divided::<SHIFT>(added(even01, odd01)),
        divided::<SHIFT>(added(even32, odd32)),
        divided::<SHIFT>(subtracted(even32, odd32)),
        divided::<SHIFT>(subtracted(even01, odd01)),
    ]
}

/// The halves of a register in the other order.
#[target_feature(enable = "avx2")]
#[inline]
fn swapped(rows: __m256i) -> __m256i {
    _mm256_permute2x128_si256::<0x01>(rows, rows)
}

/// First times a factor plus second times another one, with 32 bits, for the columns 0 to 3 and 4 to 7. The first two
/// factors are for the lower halves, the last two for the upper ones.
#[target_feature(enable = "avx2")]
#[inline]
fn products([first, second]: [__m256i; 2], [a, b, c, d]: [i32; 4]) -> [__m256i; 2] {
    let lower = _mm_set1_epi32(a & 0xffff | b << 16);
    let upper = _mm_set1_epi32(c & 0xffff | d << 16);
    let factors = _mm256_setr_m128i(lower, upper);
    [
        _mm256_madd_epi16(_mm256_unpacklo_epi16(first, second), factors),
        _mm256_madd_epi16(_mm256_unpackhi_epi16(first, second), factors),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn added(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
    [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
}

#[target_feature(enable = "avx2")]
#[inline]
fn subtracted(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
    [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])]
}

/// Divided by 2 to the `SHIFT`, rounded, as the nearest numbers of 16 bits.
#[target_feature(enable = "avx2")]
#[inline]
fn divided<const SHIFT: i32>([low, high]: [__m256i; 2]) -> __m256i {
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let low = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(low, half));
    let high = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(high, half));
    _mm256_packs_epi32(low, high)
}

/// Rows as columns: from the rows 0 and 1, 3 and 2, 4 and 5, 7 and 6 to the columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed([row01, row32, row45, row76]: [__m256i; 4]) -> [__m256i; 4] {
    let (row01, row45) = (_mm256_permute4x64_epi64::<0xd8>(row01), _mm256_permute4x64_epi64::<0xd8>(row45));
    let (row32, row76) = (_mm256_permute4x64_epi64::<0x72>(row32), _mm256_permute4x64_epi64::<0x72>(row76));
    let (row02, row13) = (_mm256_unpacklo_epi16(row01, row32), _mm256_unpackhi_epi16(row01, row32));
    let (row46, row57) = (_mm256_unpacklo_epi16(row45, row76), _mm256_unpackhi_epi16(row45, row76));
    let (top01, top23) = (_mm256_unpacklo_epi16(row02, row13), _mm256_unpackhi_epi16(row02, row13));
    let (bottom01, bottom23) = (_mm256_unpacklo_epi16(row46, row57), _mm256_unpackhi_epi16(row46, row57));
    [
        _mm256_unpacklo_epi64(top01, bottom01),
        _mm256_unpackhi_epi64(top01, bottom01),
        _mm256_unpacklo_epi64(top23, bottom23),
        _mm256_unpackhi_epi64(top23, bottom23),
    ]
}
