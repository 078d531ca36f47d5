//! What predictions are worth: accuracies and their confidence intervals.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Resamplings of the bootstrap.
const RESAMPLINGS: usize = 1000;

/// The classes that a classifier names for each sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// Up to five different classes for each sample, the most likely first.
    pub ranked: Vec<Vec<u32>>,
}

impl Predictions {
    /// The five classes of highest score in each row of `scores` (row-major, `classes` to a row); of equal scores the
    /// lower class comes first.
    pub(crate) fn from_scores(scores: &[f64], classes: usize) -> Self {
        let ranked = scores.chunks_exact(classes).map(|row| rank(row, |_| true)).collect();
        Self { ranked }
    }
}

/// The five best of the classes that `eligible` lets in, by score, then by number.
pub(crate) fn rank(scores: &[f64], eligible: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut classes: Vec<u32> = (0..scores.len()).filter(|&c| eligible(c)).map(|c| c as u32).collect();
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if classes.len() > 5 {
        classes.select_nth_unstable_by(4, order);
        classes.truncate(5);
    }
    classes.sort_unstable_by(order);
    classes
}

/// A figure in percent with its 95 % bootstrap interval (percentile method over test samples).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure on the whole test set.
    pub value: f64,
    /// 2.5th percentile over resampled test sets.
    pub low: f64,
    /// 97.5th percentile over resampled test sets.
    pub high: f64,
}

impl Figure {
    /// The share of `hits` that are true, in percent. The interval depends on `seed`.
    pub fn share(hits: &[bool], seed: u64) -> Self {
        let n = hits.len();
        let percent = |count: usize| 100.0 * count as f64 / n.max(1) as f64;
        let value = percent(hits.iter().filter(|&&hit| hit).count());
        if n == 0 {
            return Self { value, low: value, high: value };
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut resampled = || percent((0..n).filter(|_| hits[rng.random_range(0..n)]).count());
        Self::with_samples(value, (0..RESAMPLINGS).map(|_| resampled()).collect())
    }

    /// The mean of `values`, each from 0 to 1 and of one sample, in percent. The interval depends on `seed`.
    pub(crate) fn mean(values: &[f64], seed: u64) -> Self {
        let n = values.len();
        let percent = |sum: f64| 100.0 * sum / n.max(1) as f64;
        let value = percent(values.iter().sum());
        if n == 0 {
            return Self { value, low: value, high: value };
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut resampled = || percent((0..n).map(|_| values[rng.random_range(0..n)]).sum());
        Self::with_samples(value, (0..RESAMPLINGS).map(|_| resampled()).collect())
    }

    /// A figure whose interval holds 95 % of `samples`, of which there is at least one.
    pub(crate) fn with_samples(value: f64, mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| samples[(q * (samples.len() - 1) as f64).round() as usize];
        Self { value, low: at(0.025), high: at(0.975) }
    }
}

/// Top-1 accuracy on the samples of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// Number of the class.
    pub class: u32,
    /// Its test samples.
    pub samples: usize,
    /// Accuracy on them, percent.
    pub top1: f64,
}

/// Accuracy of a classifier on a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Samples whose first class is right.
    pub top1: Figure,
    /// Samples with the right class among the first five.
    pub top5: Figure,
    /// Top-1 of each class that has test samples.
    pub per_class: Vec<ClassAccuracy>,
    /// Counts by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u32>>,
}

impl Accuracy {
    /// Compares predictions with the true classes of the same samples; `classes` is their number. The intervals
    /// depend on `seed`.
    ///
    /// # Panics
    /// If there are not as many labels as predictions, or a class is not below `classes`.
    pub fn of(predictions: &Predictions, labels: &[u32], classes: usize, seed: u64) -> Self {
        let ranked = &predictions.ranked;
        assert_eq!(ranked.len(), labels.len(), "one label for each prediction");
        let hits = |among: usize| -> Vec<bool> {
            ranked.iter().zip(labels).map(|(ranked, label)| ranked.iter().take(among).any(|c| c == label)).collect()
        };
        let mut confusion = vec![vec![0; classes]; classes];
        for (ranked, &label) in ranked.iter().zip(labels) {
            if let Some(&first) = ranked.first() {
                confusion[label as usize][first as usize] += 1;
            }
        }
        let mut samples = vec![0; classes];
        labels.iter().for_each(|&label| samples[label as usize] += 1);
        let per_class = (0..classes).filter(|&class| samples[class] > 0).map(|class| ClassAccuracy {
            class: class as u32,
            samples: samples[class],
            top1: 100.0 * f64::from(confusion[class][class]) / samples[class] as f64,
        });
        Self {
            top1: Figure::share(&hits(1), seed),
            top5: Figure::share(&hits(5), seed),
            per_class: per_class.collect(),
            confusion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_ranked_best_first_and_ties_go_to_the_lower_class() {
        let scores = [0.1, 0.5, 0.5, -1.0, 0.2, 0.3, 0.0];
        assert_eq!(Predictions::from_scores(&scores, 7).ranked, [[1, 2, 5, 4, 0]]);
    }

    #[test]
    fn accuracy_counts_hits_by_rank_and_by_class() {
        let predictions = Predictions { ranked: vec![vec![0, 1], vec![1, 0], vec![2, 1], vec![0, 2]] };
        let accuracy = Accuracy::of(&predictions, &[0, 0, 2, 1], 3, 0);
        assert_eq!(accuracy.top1.value, 50.0);
        assert_eq!(accuracy.top5.value, 75.0);
        let per_class: Vec<f64> = accuracy.per_class.iter().map(|c| c.top1).collect();
        assert_eq!(per_class, [50.0, 0.0, 100.0]);
        assert_eq!(accuracy.confusion, [[1, 1, 0], [1, 0, 0], [0, 0, 1]]);
    }

    #[test]
    fn the_bootstrap_interval_is_close_to_the_normal_approximation() {
        let hits: Vec<bool> = (0..2000).map(|i| i % 10 < 7).collect();
        let figure = Figure::share(&hits, 3);
        let half = 1.96 * (0.7f64 * 0.3 / 2000.0).sqrt() * 100.0;
        assert_eq!(figure.value, 70.0);
        assert!((figure.low - (70.0 - half)).abs() < 0.3, "{figure:?}");
        assert!((figure.high - (70.0 + half)).abs() < 0.3, "{figure:?}");
        assert_eq!(figure, Figure::share(&hits, 3), "the interval depends on the seed alone");
    }
}
