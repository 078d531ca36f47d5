//! Features standardized to mean 0 and variance 1 of the training rows.

use super::problem::{BLOCK, Problem, logits};
use crate::EvalError;
use crate::features::{FeatureRows, Labeled, finite_rows};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Training features, standardized.
pub(super) struct Standardized {
    /// (rows, dim).
    rows: Tensor,
    pub labels: Vec<u32>,
    /// By which they were standardized.
    pub standard: Standard,
}

/// Mean and spread of the training features.
#[derive(Clone, Debug)]
pub(super) struct Standard {
    mean: Vec<f64>,
    /// One over the standard deviation; 0 for a feature that never changes.
    scale: Vec<f64>,
}

impl Standardized {
    /// All the features, in the order of `order`.
    pub fn load(features: Labeled, order: &[u32]) -> Result<Self, EvalError> {
        let (dim, n) = (features.rows.dim(), order.len());
        let mut place = vec![0; n];
        order.iter().enumerate().for_each(|(to, &from)| place[from as usize] = to);
        let mut values = vec![0f32; n * dim];
        for start in (0..n).step_by(BLOCK) {
            let block = finite_rows("training", features.rows, start, BLOCK)?;
            for (row, &to) in block.chunks_exact(dim).zip(&place[start..]) {
                values[to * dim..(to + 1) * dim].copy_from_slice(row);
            }
        }
        let mut mean = vec![0.0; dim];
        for row in values.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut scale = vec![0.0; dim];
        for row in values.chunks_exact(dim) {
            scale.iter_mut().zip(&mean).zip(row).for_each(|((s, m), &x)| *s += (f64::from(x) - m).powi(2));
        }
        // Rounding leaves a constant feature a variance of about 1e-14 of its square.
        let usable = |variance: f64, m: f64| variance > 1e-12 * m * m && variance > 0.0;
        scale.iter_mut().zip(&mean).for_each(|(s, &m)| {
            let variance = *s / n as f64;
            *s = if usable(variance, m) { variance.sqrt().recip() } else { 0.0 };
        });
        let standard = Standard { mean, scale };
        standard.apply(&mut values);
        let rows = Tensor::from_vec(values, (n, dim), &Device::Cpu)?;
        let labels = order.iter().map(|&row| features.labels[row as usize]).collect();
        Ok(Self { rows, labels, standard })
    }

    /// Some of the rows and their classes.
    pub fn part(&self, range: Range<usize>) -> Result<(Tensor, &[u32]), EvalError> {
        Ok((self.rows.narrow(0, range.start, range.len())?, &self.labels[range]))
    }

    /// The fit of the first `count` rows.
    pub fn problem(&self, count: usize, classes: usize) -> Result<Problem<'_>, EvalError> {
        let (rows, labels) = self.part(0..count)?;
        Ok(Problem { dim: self.standard.dim(), rows, labels, classes })
    }
}

impl Standard {
    /// Length of a feature.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Logits of other features by the same mean and variance, row-major.
    pub fn scores(&self, features: &dyn FeatureRows, weights: &[f64], classes: usize) -> Result<Vec<f64>, EvalError> {
        let mut scores = Vec::with_capacity(features.len() * classes);
        for start in (0..features.len()).step_by(BLOCK) {
            let mut block = finite_rows("test", features, start, BLOCK)?;
            self.apply(&mut block);
            let rows = Tensor::from_vec(block, ((), features.dim()), &Device::Cpu)?;
            scores.extend(logits(&rows, weights, classes)?);
        }
        Ok(scores)
    }

    fn apply(&self, values: &mut [f32]) {
        let Self { mean, scale } = self;
        values.par_chunks_exact_mut(mean.len()).for_each(|row| {
            row.iter_mut().zip(mean.iter().zip(scale)).for_each(|(x, (m, s))| *x = ((f64::from(*x) - m) * s) as f32);
        });
    }
}
