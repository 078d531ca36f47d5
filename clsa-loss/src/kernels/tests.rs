//! Every instruction set of this processor against the sums written out.

use clsa_cpu::InstructionSet;
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::block::TILE;
use super::*;

/// The kernels of every instruction set of this processor.
fn available() -> impl Iterator<Item = Kernels> {
    InstructionSet::available().into_iter().map(Kernels::new)
}

/// A block of candidates, and queries.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Whether the numbers are pairs of bf16.
    paired: bool,
    /// The size of scores.
    size: f64,
    queries: usize,
    dim: usize,
    count: usize,
}

/// Compares one block with the sums written out.
fn check(kernels: Kernels, case: Case) {
    let Case { paired, size, queries, dim, count } = case;
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
    // The numbers of `candidates` as the kernels take them.
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
    let mut sums = LaneSums::new(&packed, group);
    let block = Block { rows: &units, stride, paired, count, next: &[] };
    kernels.add_block(&packed, &block, &mut scratch, &mut sums);

    assert!(!sums.beyond_limit);
    assert_eq!(sums.weighted.len(), queries.next_multiple_of(group) * dim.next_multiple_of(TILE));
    for q in 0..queries {
        let weights: Vec<f64> = (0..count).map(|c| score(q, c).exp2()).collect();
        let total: f64 = weights.iter().sum();
        let context = format!("{kernels:?} {case:?} query {q}");
        assert!((sums.exponentials[q] / total - 1.0).abs() < 5e-7, "{context}: sum");
        let bound = if paired { 4e-3 } else { 5e-7 };
        assert!((sums.weights[q] / total - 1.0).abs() < bound, "{context}: sum of weights");
        let weighted: Vec<f32> = sums.weighted_components(q, group, dim).collect();
        assert_eq!(weighted.len(), dim);
        for (d, got) in weighted.into_iter().map(f64::from).enumerate() {
            let wanted: f64 = (0..count).map(|c| weights[c] * candidates[c * dim + d]).sum();
            assert!((got - wanted).abs() < bound * total, "{context}: component {d}: {got} is not {wanted}");
        }
        if q < thresholds.len() {
            let above = (0..count).filter(|&c| score(q, c) > 0.125).count();
            assert!(above.abs_diff(sums.above[q] as usize) <= 1, "{context}: above");
        }
    }
}

#[test]
fn every_instruction_set_sums_a_block() {
    for kernels in available() {
        for (queries, dim, count) in [(1, 1, 1), (3, 8, 128), (16, 7, 9), (33, 33, 127), (70, 128, 64), (40, 200, 5)] {
            let case = Case { paired: false, size: 1.0, queries, dim, count };
            check(kernels, case);
            if kernels.multiplies_bf16() {
                check(kernels, Case { paired: true, ..case });
            }
        }
    }
}

#[test]
fn every_instruction_set_sums_steep_scores_as_precisely() {
    for kernels in available() {
        for (queries, dim, count) in [(3, 1, 128), (16, 7, 9), (33, 33, 127), (70, 128, 64), (40, 200, 5)] {
            check(kernels, Case { paired: false, size: 12.0, queries, dim, count });
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
            let mut sums = LaneSums::new(&packed, group);
            kernels.add_block(&packed, &block, &mut Scratch::new(group, dim), &mut sums);
            assert!(sums.beyond_limit, "{kernels:?} takes {score}");
        }
    }
}
