//! The inverse transform for any processor.

use super::{Block, Extent, Samples};

/// Factors of the transform, times 8192.
pub(super) mod factor {
    pub(in super::super) const F0_298: i32 = 2446;
    pub(in super::super) const F0_390: i32 = 3196;
    pub(in super::super) const F0_541: i32 = 4433;
    pub(in super::super) const F0_765: i32 = 6270;
    pub(in super::super) const F0_899: i32 = 7373;
    pub(in super::super) const F1_175: i32 = 9633;
    pub(in super::super) const F1_501: i32 = 12299;
    pub(in super::super) const F1_847: i32 = 15137;
    pub(in super::super) const F1_961: i32 = 16069;
    pub(in super::super) const F2_053: i32 = 16819;
    pub(in super::super) const F2_562: i32 = 20995;
    pub(in super::super) const F3_072: i32 = 25172;
}

use factor::*;

/// The samples of a block.
pub(super) fn inverse(coefficients: &Block, quantizers: &Block, extent: Extent) -> Samples {
    let mut rows = [[0; 8]; 8];
    for (product, (a, b)) in rows.as_flattened_mut().iter_mut().zip(coefficients.0.iter().zip(&quantizers.0)) {
        *product = a.wrapping_mul(*b);
    }
    // This shortcut overflows otherwise than the whole transform does.
    let columns = if extent.is_row() { [rows[0].map(|value| value << 2); 8] } else { pass::<11>(&rows) };
    let rows = transposed(&pass::<18>(&transposed(&columns)));
    let mut samples = Samples::default();
    for (sample, value) in samples.as_flattened_mut().iter_mut().zip(rows.as_flattened()) {
        *sample = (*value).clamp(-128, 127) as u8 ^ 0x80;
    }
    samples
}

/// Rows as columns.
#[inline(always)]
fn transposed(rows: &[[i16; 8]; 8]) -> [[i16; 8]; 8] {
    let mut columns = [[0; 8]; 8];
    for (row, values) in rows.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            columns[column][row] = *value;
        }
    }
    columns
}

/// Transforms each of the eight columns, and divides by 2 to the `SHIFT`. Sums of 16 bits overflow in 16 bits, those of 32
/// bits in 32, and what is divided is the nearest of 16 bits.
#[inline(always)]
fn pass<const SHIFT: u32>(rows: &[[i16; 8]; 8]) -> [[i16; 8]; 8] {
    let mut out = [[0; 8]; 8];
    for column in 0..8 {
        let input = |row: usize| rows[row][column];
        let pair = |a: i16, by: i32, b: i16, and: i32| (i32::from(a) * by).wrapping_add(i32::from(b) * and);
        let sum = i32::from(input(0).wrapping_add(input(4))) << 13;
        let difference = i32::from(input(0).wrapping_sub(input(4))) << 13;
        let inner = pair(input(2), F0_541, input(6), F0_541 - F1_847);
        let outer = pair(input(2), F0_541 + F0_765, input(6), F0_541);
        let even = [
            sum.wrapping_add(outer),
            difference.wrapping_add(inner),
            difference.wrapping_sub(inner),
            sum.wrapping_sub(outer),
        ];
        let (z3, z4) = (input(7).wrapping_add(input(3)), input(5).wrapping_add(input(1)));
        let (z3, z4) = (pair(z3, F1_175 - F1_961, z4, F1_175), pair(z3, F1_175, z4, F1_175 - F0_390));
        let odd = [
            pair(input(7), -F0_899, input(1), F1_501 - F0_899).wrapping_add(z4),
            pair(input(5), -F2_562, input(3), F3_072 - F2_562).wrapping_add(z3),
            pair(input(5), F2_053 - F2_562, input(3), -F2_562).wrapping_add(z4),
            pair(input(7), F0_298 - F0_899, input(1), -F0_899).wrapping_add(z3),
        ];
        let divided = |value: i32| {
            let value = value.wrapping_add(1 << (SHIFT - 1)) >> SHIFT;
            value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
        };
        for (at, (&even, &odd)) in even.iter().zip(&odd).enumerate() {
            out[at][column] = divided(even.wrapping_add(odd));
            out[7 - at][column] = divided(even.wrapping_sub(odd));
        }
    }
    out
}
