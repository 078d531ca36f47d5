//! The pass in f64 with a running maximum: for f64 views, and for f32 views whose logits single precision does not hold.

use crate::kernels::{BLOCK, f64_product};
use crate::parts::{Part, reduce};

/// Sums over candidates, for every row.
pub(crate) struct RowSums {
    /// The largest logit, which the sums are relative to: (R).
    pub max: Vec<f64>,
    /// The sum of the exponentials of the logits: (R).
    pub exponentials: Vec<f64>,
    /// The sum of the candidates, each weighted with its exponential: (R, D).
    pub weighted: Vec<f64>,
    /// The number of candidates above the threshold, for each of the first rows.
    pub above: Vec<u32>,
}

/// The sums over all parts, for rows (R, D) over their temperatures.
pub(crate) fn sums(scaled: &[f64], thresholds: &[f64], parts: &[Part], dim: usize) -> RowSums {
    if parts.is_empty() {
        return RowSums::of_none(scaled.len() / dim, thresholds.len(), dim);
    }
    reduce(parts, &|part| sums_of_part(scaled, thresholds, part, dim), &|left, right| left.add(right, dim))
}

/// The sums over one part.
fn sums_of_part(rows: &[f64], thresholds: &[f64], part: &Part, dim: usize) -> RowSums {
    let count = rows.len() / dim;
    let mut sums = RowSums::of_none(count, thresholds.len(), dim);
    let mut candidates = vec![0.0; BLOCK * dim];
    let mut logits = vec![0.0; BLOCK * count];
    for start in part.rows.clone().step_by(BLOCK) {
        let end = (start + BLOCK).min(part.rows.end);
        let width = end - start;
        let candidates = &mut candidates[..width * dim];
        part.source.copy_to_f64(start..end, candidates);
        let logits = &mut logits[..width * count];
        f64_product::scores(rows, candidates, dim, logits);
        for (row, logits) in logits.chunks_exact_mut(width).enumerate() {
            if let Some(threshold) = thresholds.get(row) {
                sums.above[row] += logits.iter().filter(|&logit| logit > threshold).count() as u32;
            }
            let max = logits.iter().copied().fold(sums.max[row], f64::max);
            if max > sums.max[row] {
                let decay = (sums.max[row] - max).exp();
                sums.max[row] = max;
                sums.exponentials[row] *= decay;
                sums.weighted[row * dim..][..dim].iter_mut().for_each(|x| *x *= decay);
            }
            let mut sum = 0.0;
            for logit in logits {
                *logit = (*logit - max).exp();
                sum += *logit;
            }
            sums.exponentials[row] += sum;
        }
        // The logits have become the exponentials, which are the weights.
        f64_product::add_weighted(logits, candidates, dim, &mut sums.weighted);
    }
    sums
}

impl RowSums {
    /// The sums over no candidates.
    fn of_none(count: usize, counted: usize, dim: usize) -> Self {
        Self {
            max: vec![f64::NEG_INFINITY; count],
            exponentials: vec![0.0; count],
            weighted: vec![0.0; count * dim],
            above: vec![0; counted],
        }
    }

    /// Adds the sums over other candidates.
    fn add(mut self, other: Self, dim: usize) -> Self {
        for row in 0..self.max.len() {
            let max = self.max[row].max(other.max[row]);
            let (decay, other_decay) = ((self.max[row] - max).exp(), (other.max[row] - max).exp());
            self.max[row] = max;
            self.exponentials[row] = self.exponentials[row] * decay + other.exponentials[row] * other_decay;
            for d in row * dim..(row + 1) * dim {
                self.weighted[d] = self.weighted[d] * decay + other.weighted[d] * other_decay;
            }
        }
        self.above.iter_mut().zip(&other.above).for_each(|(a, b)| *a += b);
        self
    }
}
