//! The inverse cosine transform of a block: libjpeg's accurate integer one (`jidctint.c`), as libjpeg-turbo's kernels for
//! x86 compute it, overflows included.
//!
//! A file that is not damaged has no overflows. Where there are some, those kernels are what Pillow's bytes come from.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use super::block::{Block, Extent, Samples};

/// An inverse transform: from coefficients, their quantizers, and where the coefficients are that are not 0, to samples.
pub(super) type Inverse = fn(&Block, &Block, Extent) -> Samples;

/// The fastest inverse transform of this processor. All give the same samples.
pub(super) fn inverse() -> Inverse {
    #[cfg(target_arch = "x86_64")]
    if let Some(inverse) = avx2::inverse() {
        return inverse;
    }
    portable::inverse
}

/// The sample that a block consists of all of whose coefficients but the first are 0.
#[inline(always)]
pub(super) fn mean(coefficients: &Block, quantizers: &Block) -> u8 {
    let first = coefficients.0[0].wrapping_mul(quantizers.0[0]) << 2;
    (((i32::from(first) + 16) >> 5).clamp(-128, 127) + 128) as u8
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::*;

    /// Blocks of all sorts: few and many coefficients, small ones and those that overflow.
    fn blocks() -> impl Iterator<Item = (Block, Block)> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        (0..200_000).map(move |_| {
            let (mut coefficients, mut quantizers) = (Block::ZERO, Block::ZERO);
            let (bits, wide, count) = (1 + random.next_u32() % 16, random.next_u32() % 17, random.next_u32() % 12);
            quantizers.0.fill_with(|| (random.next_u32() >> 16 >> (16 - wide)) as i16);
            let all = [8, 32, 64, 256][random.next_u32() as usize % 4];
            for _ in 0..if all == 256 { 64 } else { count } {
                let value = (random.next_u32() as i32 >> (32 - bits)) as i16;
                coefficients.0[(random.next_u32() % all) as usize % 64] = value;
            }
            (coefficients, quantizers)
        })
    }

    #[test]
    fn all_transforms_of_this_processor_give_the_same_samples() {
        for (coefficients, quantizers) in blocks() {
            let extent = Extent::of(&coefficients);
            let expected = portable::inverse(&coefficients, &quantizers, extent);
            assert_eq!(inverse()(&coefficients, &quantizers, extent), expected, "{coefficients:?} {quantizers:?}");
            if extent.is_mean() {
                assert_eq!(expected, [[mean(&coefficients, &quantizers); 8]; 8]);
            }
        }
    }

    #[test]
    fn the_transform_is_the_inverse_of_the_cosine_transform() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        for _ in 0..100 {
            let mut block = Block::ZERO;
            block.0.fill_with(|| (random.next_u32() % 61) as i16 - 30);
            let samples = inverse()(&block, &Block([1; 64]), Extent::of(&block));
            for (y, row) in samples.iter().enumerate() {
                for (x, &sample) in row.iter().enumerate() {
                    let scale = |at: usize| if at == 0 { 0.5_f64.sqrt() } else { 1. };
                    let wave = |at: usize, frequency: usize| {
                        scale(frequency) * ((2 * at + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.).cos()
                    };
                    let terms = block.0.iter().enumerate();
                    let sum: f64 = terms.map(|(at, &value)| f64::from(value) * wave(y, at / 8) * wave(x, at % 8)).sum();
                    let exact = (sum / 4. + 128.).clamp(0., 255.);
                    assert!((f64::from(sample) - exact).abs() < 0.6, "{sample} {exact}");
                }
            }
        }
    }
}
