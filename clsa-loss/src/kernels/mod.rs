//! The inner loops of the CPU operation, for the instruction sets of this processor.
//!
//! Queries lie across the lanes of a vector: the scores of a group of queries with a tile of candidates, their exponentials and
//! the sum of candidates weighted with them are all formed lane by lane, and the candidates are read in the bank's own
//! row-major layout, one number at a time for all queries of the group.
//!
//! This folder is the only one of the crate with unsafe code: vector intrinsics, and raw pointers in the loops around them.
#![allow(unsafe_code)]

mod scalar;
mod stream;
mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use stream::{BLOCK, Block, LIMIT, PackedQueries, Scratch, Sums, TILE};
pub(crate) use wide::multiply_f64;

use crate::LossError;

/// The vector instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// AVX-512 (F, BW, DQ, VL) with the products of bf16 pairs.
    Avx512Bf16,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// Whatever the compiler targets.
    Scalar,
}

impl Kernels {
    /// The best that this processor has, or what the environment variable `CLSA_KERNELS` forces: `avx512` (without bf16), `avx2` or
    /// `scalar`.
    pub fn detect() -> Result<Self, LossError> {
        match std::env::var_os("CLSA_KERNELS") {
            None => Ok(Self::best()),
            Some(value) if value.is_empty() => Ok(Self::best()),
            Some(value) => Self::best().forced(&value.to_string_lossy()),
        }
    }

    /// The kernels that `value` names, on a processor whose best ones are `self`.
    fn forced(self, value: &str) -> Result<Self, LossError> {
        match (value, self) {
            ("avx512", Self::Avx512Bf16 | Self::Avx512) => Ok(Self::Avx512),
            ("avx2", Self::Avx512Bf16 | Self::Avx512 | Self::Avx2) => Ok(Self::Avx2),
            ("scalar", _) => Ok(Self::Scalar),
            _ => Err(LossError::Kernels { value: value.to_string() }),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (avx512, avx2) {
            (true, _) if is_x86_feature_detected!("avx512bf16") => Self::Avx512Bf16,
            (true, _) => Self::Avx512,
            (_, true) => Self::Avx2,
            _ => Self::Scalar,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Self {
        Self::Scalar
    }

    /// Queries in a group: two vectors.
    pub fn group(self) -> usize {
        match self {
            Self::Avx512Bf16 | Self::Avx512 => 32,
            Self::Avx2 | Self::Scalar => 16,
        }
    }

    /// Whether pairs of bf16 numbers are multiplied as such.
    pub fn multiplies_bf16(self) -> bool {
        self == Self::Avx512Bf16
    }

    /// Adds the candidates of `block` to `sums`.
    pub fn add_block(self, queries: &PackedQueries, block: &Block, scratch: &mut Scratch, sums: &mut Sums) {
        stream::check(self.group(), queries, block, scratch, sums);
        assert!(!block.paired || self.multiplies_bf16());
        // SAFETY: `check` has compared every length with what the loops read and write, and `best` has found the instructions.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 if block.paired => x86::add_block_avx512_bf16(queries, block, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 | Self::Avx512 => x86::add_block_avx512(queries, block, scratch, sums),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => x86::add_block_avx2(queries, block, scratch, sums),
                _ => stream::add_block::<scalar::Scalar, 4>(queries, block, scratch, sums),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn available() -> Vec<Kernels> {
        let all = [Kernels::Scalar, Kernels::Avx2, Kernels::Avx512, Kernels::Avx512Bf16];
        let best = all.iter().position(|&kernels| kernels == Kernels::best()).unwrap();
        all[..=best].to_vec()
    }

    /// Compares one block with the sums written out, for scores of about `size`; `units` holds the numbers that `candidates`
    /// has, as the kernels take them.
    fn check(kernels: Kernels, paired: bool, size: f64, (queries, dim, count): (usize, usize, usize)) {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64((queries * 31 + dim * 7 + count) as u64);
        let mut random = |n: usize, size: f32| -> Vec<f64> {
            let exact = |x: f32| if paired { bf16::from_f32(x).to_f64() } else { f64::from(x) };
            (0..n).map(|_| exact(generator.random_range(-size..size))).collect()
        };
        let (rows, candidates) = (random(queries * dim, (dim as f32).sqrt().recip()), random(count * dim, 1.0));
        let score = |q: usize, c: usize| -> f64 {
            size * (0..dim).map(|d| rows[q * dim + d] * candidates[c * dim + d]).sum::<f64>()
        };
        let group = kernels.group();
        let thresholds = vec![0.125; queries.min(3)];
        let packed = PackedQueries::new(&rows, size, &thresholds, group, dim, paired);
        let stride = if paired { dim.div_ceil(2) } else { dim };
        let mut units = vec![0u32; BLOCK * stride];
        for (row, to) in candidates.chunks(dim).zip(units.chunks_mut(stride)) {
            if paired {
                for (pair, to) in row.chunks(2).zip(to) {
                    let bits = |x: f64| u32::from(bf16::from_f64(x).to_bits());
                    *to = bits(pair[0]) | pair.get(1).map_or(0, |&x| bits(x)) << 16;
                }
            } else {
                row.iter().zip(to).for_each(|(&x, to)| *to = (x as f32).to_bits());
            }
        }
        let mut scratch = Scratch::new(group, dim);
        let mut sums = Sums::new(&packed, group);
        let block = Block { rows: &units, stride, paired, count, next: &[] };
        kernels.add_block(&packed, &block, &mut scratch, &mut sums);

        assert!(!sums.beyond_limit);
        let components = dim.next_multiple_of(TILE);
        for q in 0..queries {
            let weights: Vec<f64> = (0..count).map(|c| score(q, c).exp2()).collect();
            let total: f64 = weights.iter().sum();
            let context =
                format!("{kernels:?} paired {paired} size {size} queries {queries} dim {dim} count {count} query {q}");
            assert!((sums.exponentials[q] / total - 1.0).abs() < 5e-7, "{context}: sum");
            let bound = if paired { 4e-3 } else { 5e-7 };
            assert!((sums.weights[q] / total - 1.0).abs() < bound, "{context}: sum of weights");
            for d in 0..dim {
                let wanted: f64 = (0..count).map(|c| weights[c] * candidates[c * dim + d]).sum();
                let got = f64::from(sums.weighted[(q / group * components + d) * group + q % group]);
                assert!((got - wanted).abs() < bound * total, "{context}: component {d}: {got} is not {wanted}");
            }
            if q < thresholds.len() {
                let above = (0..count).filter(|&c| score(q, c) > 0.125).count();
                assert!(above.abs_diff(sums.above[q] as usize) <= 1, "{context}: above");
            }
        }
    }

    #[test]
    fn kernels_are_forced_by_name_where_the_processor_has_them() {
        assert_eq!(Kernels::Avx512Bf16.forced("avx512").unwrap(), Kernels::Avx512);
        assert_eq!(Kernels::Avx512.forced("avx2").unwrap(), Kernels::Avx2);
        assert_eq!(Kernels::Avx2.forced("scalar").unwrap(), Kernels::Scalar);
        for (best, value) in [(Kernels::Avx2, "avx512"), (Kernels::Scalar, "avx2"), (Kernels::Avx512, "AVX2")] {
            let message = best.forced(value).unwrap_err().to_string();
            assert!(message.contains(&format!("CLSA_KERNELS is `{value}`")), "{message}");
        }
    }

    #[test]
    fn every_instruction_set_sums_a_block() {
        for kernels in available() {
            for (queries, dim, count) in
                [(1, 1, 1), (3, 8, 128), (16, 7, 9), (33, 33, 127), (70, 128, 64), (40, 200, 5)]
            {
                check(kernels, false, 1.0, (queries, dim, count));
                if kernels.multiplies_bf16() {
                    check(kernels, true, 1.0, (queries, dim, count));
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_sums_steep_scores_as_precisely() {
        for kernels in available() {
            for shape in [(3, 1, 128), (16, 7, 9), (33, 33, 127), (70, 128, 64), (40, 200, 5)] {
                check(kernels, false, 12.0, shape);
            }
        }
    }

    #[test]
    fn every_instruction_set_notices_large_and_undefined_scores() {
        for kernels in available() {
            for score in [100.0, -100.0, f64::MAX] {
                let (group, dim) = (kernels.group(), 3);
                let packed = PackedQueries::new(&[score, 0.0, 0.0], 1.0, &[], group, dim, false);
                let mut units = vec![0; BLOCK * dim];
                units[5 * dim] = 1f32.to_bits();
                let block = Block { rows: &units, stride: dim, paired: false, count: 6, next: &[] };
                let mut sums = Sums::new(&packed, group);
                kernels.add_block(&packed, &block, &mut Scratch::new(group, dim), &mut sums);
                assert!(sums.beyond_limit, "{kernels:?} takes {score}");
            }
        }
    }
}
