//! Weighted k-nearest-neighbour classification of L2-normalised features (Wu et al. 2018, instance discrimination).

use crate::features::{FeatureRows, Labelled, check_labelled, finite_rows};
use crate::metrics::rank;
use crate::{EvalError, Predictions};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows of a product: test images by training images. Beside the features, memory is one such block of similarities
/// and 2k neighbours for each test image.
const TEST_BLOCK: usize = 1024;
const TRAIN_BLOCK: usize = 4096;

/// Settings of [`knn`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnConfig {
    /// Neighbours that vote; capped by the number of training images. Default 200.
    pub k: usize,
    /// Temperature T of a vote's weight `exp(similarity / T)`. Default 0.07.
    pub temperature: f64,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 200, temperature: 0.07 }
    }
}

/// What [`knn`] gives.
#[derive(Clone, Debug)]
pub struct KnnResult {
    /// Test images whose class got the most votes, percent.
    pub top1: f64,
    /// Test images whose class is among the five with the most votes, percent. A class without any vote is never
    /// among them.
    pub top5: f64,
    /// Neighbours that voted.
    pub k: usize,
    /// The ranked classes of each test image.
    pub predictions: Predictions,
}

/// Classifies each test feature by the votes of its `k` most similar (cosine) training features. Of equally similar
/// features the earlier one is nearer, of classes with equal votes the lower one first, so that the result depends on
/// nothing but the arguments. Training features are read in blocks, test features are held in memory.
///
/// # Errors
/// A split is empty, has features that are not finite or of another length, the training images are all of one class,
/// a test class is not among theirs, or a setting is out of range.
pub fn knn<'a>(
    train: impl Into<Labelled<'a>>,
    test: impl Into<Labelled<'a>>,
    config: &KnnConfig,
) -> Result<KnnResult, EvalError> {
    let (train, test) = (train.into(), test.into());
    let classes = check_labelled(train, test)?;
    if config.k == 0 {
        return Err(EvalError::Setting { key: "knn.k", value: "0".to_owned(), expected: "use at least 1" });
    }
    if !(config.temperature.is_finite() && config.temperature > 0.0) {
        let value = config.temperature.to_string();
        return Err(EvalError::Setting { key: "knn.temperature", value, expected: "use a positive number" });
    }
    let k = config.k.min(train.labels.len());
    let neighbours = nearest(train.rows, test.rows, k)?;
    let ranked: Vec<Vec<u32>> = neighbours
        .into_par_iter()
        .map(|nearest| {
            let most = f64::from(nearest[0].similarity);
            let mut votes = vec![0.0; classes];
            let mut voted = vec![false; classes];
            for neighbour in nearest {
                let class = train.labels[neighbour.index as usize] as usize;
                // Relative to the nearest, so that no temperature overflows.
                votes[class] += ((f64::from(neighbour.similarity) - most) / config.temperature).exp();
                voted[class] = true;
            }
            rank(&votes, |class| voted[class])
        })
        .collect();
    let share = |among: usize| {
        let hits = ranked.iter().zip(test.labels).filter(|(r, label)| r.iter().take(among).any(|c| c == *label));
        100.0 * hits.count() as f64 / test.labels.len() as f64
    };
    Ok(KnnResult { top1: share(1), top5: share(5), k, predictions: Predictions { ranked } })
}

/// A training feature near a test feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbour {
    /// Cosine similarity.
    pub similarity: f32,
    /// Row of the training features.
    pub index: u32,
}

/// The `k` nearest training features of each test feature, nearest first.
pub(crate) fn nearest(
    train: &dyn FeatureRows,
    test: &dyn FeatureRows,
    k: usize,
) -> Result<Vec<Vec<Neighbour>>, EvalError> {
    let queries: Vec<Tensor> = (0..test.len())
        .step_by(TEST_BLOCK)
        .map(|start| unit_rows("test", test, start, TEST_BLOCK))
        .collect::<Result<_, _>>()?;
    let mut nearest: Vec<Nearest> = (0..test.len()).map(|_| Nearest::new(k)).collect();
    for start in (0..train.len()).step_by(TRAIN_BLOCK) {
        let rows = unit_rows("training", train, start, TRAIN_BLOCK)?.t()?;
        for (queries, nearest) in queries.iter().zip(nearest.chunks_mut(TEST_BLOCK)) {
            let similarities = queries.matmul(&rows)?.flatten_all()?.to_vec1::<f32>()?;
            let columns = similarities.len() / nearest.len();
            nearest.par_iter_mut().zip(similarities.par_chunks_exact(columns)).for_each(|(nearest, similarities)| {
                for (column, &similarity) in similarities.iter().enumerate() {
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

/// The best `k` of the neighbours offered so far, among up to `2k`.
struct Nearest {
    k: usize,
    kept: Vec<Neighbour>,
    /// Neighbours that are not more similar than this cannot be among the best.
    threshold: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), threshold: f32::NEG_INFINITY }
    }

    /// Takes neighbours in ascending order of their index.
    fn offer(&mut self, similarity: f32, index: u32) {
        if similarity > self.threshold {
            self.kept.push(Neighbour { similarity, index });
            if self.kept.len() == 2 * self.k {
                self.kept.select_nth_unstable_by(self.k - 1, Neighbour::nearer);
                self.kept.truncate(self.k);
                self.threshold = self.kept[self.k - 1].similarity;
            }
        }
    }

    fn finish(mut self) -> Vec<Neighbour> {
        self.kept.sort_unstable_by(Neighbour::nearer);
        self.kept.truncate(self.k);
        self.kept
    }
}

impl Neighbour {
    fn nearer(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index))
    }
}
