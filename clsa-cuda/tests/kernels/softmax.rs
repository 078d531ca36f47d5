//! The streaming softmax against one pass over all scores in f64.

use super::{Bench, Machine, Random, assert_close, values};
use clsa_cuda::SoftmaxBlock;

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub rows: usize,
    pub counted: usize,
    pub dim: usize,
}

pub fn softmax<M: Machine>(bench: &Bench<'_, M>, sizes: Sizes, blocks: &[usize], seed: u64) {
    let Sizes { rows, counted, dim } = sizes;
    let mut random = Random::new(seed);
    let columns: usize = blocks.iter().sum();
    let scores = random.numbers(rows * columns);
    let inverse: Vec<f32> = (0..rows).map(|_| random.between(1.0, 10.0)).collect();
    let limits: Vec<f32> = (0..counted).map(|_| random.between(-1.0, 1.0)).collect();
    let first: Vec<f32> = random.numbers(rows * dim);
    let [max, sum] = [f32::NEG_INFINITY, 0.0].map(|x| bench.tensor(&vec![x; rows], &[rows]));
    // What the caller adds to the weighted sum after its first block decays from then on.
    let weighted = bench.tensor(&vec![0.0; rows * dim], &[rows, dim]);
    let (above, thresholds) = (bench.tensor(&vec![0.0; counted], &[counted]), bench.tensor(&limits, &[counted]));
    let (mut start, mut first_max) = (0, vec![]);
    for (i, &width) in blocks.iter().enumerate() {
        let at = |k: usize| k / width * columns + start + k % width;
        let block = bench.tensor(&(0..rows * width).map(|k| scores[at(k)]).collect::<Vec<_>>(), &[rows, width]);
        let inverse_temperatures = bench.tensor(&inverse, &[rows]);
        bench
            .ops
            .softmax_block(SoftmaxBlock {
                scores: &block,
                max: &max,
                sum: &sum,
                weighted: &weighted,
                inverse_temperatures: &inverse_temperatures,
                above: &above,
                thresholds: &thresholds,
            })
            .unwrap();
        let highest = values(&max);
        let of = |k: usize| {
            let row = k / width;
            ((f64::from(scores[at(k)]) - f64::from(highest[row])) * f64::from(inverse[row])).exp()
        };
        assert_close(&values(&block), &(0..rows * width).map(of).collect::<Vec<_>>(), 1e-6);
        if i == 0 {
            weighted.slice_set(&bench.tensor(&first, &[rows, dim]), 0, 0).unwrap();
            first_max = highest;
        }
        start += width;
    }
    let highest: Vec<f32> =
        scores.chunks(columns).map(|row| row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b))).collect();
    assert_eq!(values(&max), highest);
    let of_row = |row: usize| row * columns..(row + 1) * columns;
    let exponential = |k: usize| {
        let row = k / columns;
        ((f64::from(scores[k]) - f64::from(highest[row])) * f64::from(inverse[row])).exp()
    };
    let sums: Vec<f64> = (0..rows).map(|row| of_row(row).map(exponential).sum()).collect();
    assert_close(&values(&sum), &sums, 1e-5);
    let ahead = |row: usize| of_row(row).filter(|&k| scores[k] > limits[row]).count() as f32;
    assert_eq!(values(&above), (0..counted).map(ahead).collect::<Vec<_>>());
    let decayed: Vec<f64> = (0..rows * dim)
        .map(|k| {
            let row = k / dim;
            let fallen = (f64::from(first_max[row]) - f64::from(highest[row])) * f64::from(inverse[row]);
            f64::from(first[k]) * fallen.exp()
        })
        .collect();
    assert_close(&values(&weighted), &decayed, 1e-5);
}
