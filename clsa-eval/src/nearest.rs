//! The nearest training features of each test feature, by cosine.

use crate::EvalError;
use crate::features::{FeatureRows, finite_rows};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Rows of a product: test images by training images. Beside the features, memory is one such block of similarities
/// and 2k neighbors for each test image.
const TEST_BLOCK: usize = 1024;
const TRAIN_BLOCK: usize = 4096;
/// What the training images of a product are a multiple of.
const COLUMNS: usize = 64;

/// A training feature near a test feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// Cosine similarity.
    pub similarity: f32,
    /// Row of the training features.
    pub index: u32,
}

/// The `k` nearest training features of each test feature by cosine, nearest first; of equally near ones the first. Beside both
/// sets of features, memory is a block of similarities and 2k neighbors for each test feature.
///
/// # Errors
/// The features differ in length or have none, are not finite, or cannot be read; or `k` is 0.
///
/// # Examples
/// ```
/// use clsa_eval::{features::Features, nearest};
///
/// let images = Features { values: vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0], dim: 2, labels: vec![0, 0, 1] };
/// let query = Features { values: vec![0.0, 2.0], dim: 2, labels: vec![0] };
/// let found = &nearest(&images, &query, 2)?[0];
/// assert_eq!((found[0].index, found[0].similarity, found[1].index), (2, 1.0, 1));
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn nearest(train: &dyn FeatureRows, test: &dyn FeatureRows, k: usize) -> Result<Vec<Vec<Neighbor>>, EvalError> {
    if test.dim() != train.dim() {
        return Err(EvalError::Size { what: "a test feature", got: test.dim(), expected: train.dim() });
    }
    EvalError::at_least_one("k", k as u64)?;
    if train.dim() == 0 {
        return Err(EvalError::Empty("training"));
    }
    let queries: Vec<Tensor> = (0..test.len())
        .step_by(TEST_BLOCK)
        .map(|start| unit_rows("test", test, start, TEST_BLOCK))
        .collect::<Result<_, _>>()?;
    let mut nearest: Vec<Nearest> = (0..test.len()).map(|_| Nearest::new(k)).collect();
    // Blocks of one size, the last filled up with zeros: a product of another size may add up in another order, and equal rows would
    // not be equally near.
    let blocks = train.len().div_ceil(TRAIN_BLOCK).max(1);
    let block = train.len().div_ceil(blocks).next_multiple_of(COLUMNS);
    for start in (0..train.len()).step_by(block.max(1)) {
        let rows = unit_rows("training", train, start, block)?;
        let count = rows.dim(0)?;
        let rows = rows.pad_with_zeros(0, 0, block - count)?.t()?;
        for (queries, nearest) in queries.iter().zip(nearest.chunks_mut(TEST_BLOCK)) {
            let similarities = queries.matmul(&rows)?.flatten_all()?.to_vec1::<f32>()?;
            nearest.par_iter_mut().zip(similarities.par_chunks_exact(block)).for_each(|(nearest, similarities)| {
                for (column, &similarity) in similarities.iter().take(count).enumerate() {
                    nearest.offer(similarity, (start + column) as u32);
                }
            });
        }
    }
    Ok(nearest.into_par_iter().map(Nearest::finish).collect())
}

/// Up to `count` rows from `start` on, each divided by its length; (rows, dim). A row of zeros stays.
fn unit_rows(split: &'static str, features: &dyn FeatureRows, start: usize, count: usize) -> Result<Tensor, EvalError> {
    let mut rows = finite_rows(split, features, start, count)?;
    let dim = features.dim();
    rows.par_chunks_exact_mut(dim).for_each(|row| {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    });
    Ok(Tensor::from_vec(rows, ((), dim), &Device::Cpu)?)
}

/// The best `k` of the neighbors offered so far, among up to `2k`.
struct Nearest {
    k: usize,
    kept: Vec<Neighbor>,
    /// Neighbors that are not more similar than this cannot be among the best.
    threshold: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), threshold: f32::NEG_INFINITY }
    }

    /// Takes neighbors in ascending order of their index.
    fn offer(&mut self, similarity: f32, index: u32) {
        if similarity > self.threshold {
            self.kept.push(Neighbor { similarity, index });
            if self.kept.len() == self.k.saturating_mul(2) {
                self.kept.select_nth_unstable_by(self.k - 1, Neighbor::nearer);
                self.kept.truncate(self.k);
                self.threshold = self.kept[self.k - 1].similarity;
            }
        }
    }

    fn finish(mut self) -> Vec<Neighbor> {
        self.kept.sort_unstable_by(Neighbor::nearer);
        self.kept.truncate(self.k);
        self.kept
    }
}

impl Neighbor {
    fn nearer(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index))
    }
}
