//! Accuracy of a classifier.

use super::Estimate;
use serde::{Deserialize, Serialize};

/// The classes that a classifier names for each sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// Up to five different classes for each sample, the most likely first.
    pub ranked: Vec<Vec<u32>>,
}

impl Predictions {
    /// The five classes of highest score in each row of `scores` (row-major, `classes` to a row); of equal scores the
    /// lower class comes first.
    ///
    /// # Panics
    /// If `classes` is 0.
    pub fn from_scores(scores: &[f64], classes: usize) -> Self {
        let ranked = scores.chunks_exact(classes).map(|row| rank(row, |_| true)).collect();
        Self { ranked }
    }

    /// Samples whose first class is right, percent; 0 of none.
    pub fn top1(&self, labels: &[u32]) -> f64 {
        self.right_among(1, labels)
    }

    /// Samples of whose first five classes one is right, percent; 0 of none.
    pub fn top5(&self, labels: &[u32]) -> f64 {
        self.right_among(5, labels)
    }

    fn right_among(&self, first: usize, labels: &[u32]) -> f64 {
        let right = self.hits(first, labels).iter().filter(|&&hit| hit).count();
        100.0 * right as f64 / labels.len().max(1) as f64
    }

    /// Whether each sample's class is among the `first` that are named.
    pub(crate) fn hits(&self, first: usize, labels: &[u32]) -> Vec<bool> {
        self.ranked.iter().zip(labels).map(|(ranked, label)| ranked.iter().take(first).any(|c| c == label)).collect()
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

/// Classes above which [`Accuracy`] counts no pairs: they would be millions.
const MOST_PAIRED: usize = 1000;

/// Accuracy of a classifier on a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Samples whose first class is right.
    pub top1: Estimate,
    /// Samples with the right class among the first five.
    pub top5: Estimate,
    /// Top-1 of each class that has test samples.
    pub per_class: Vec<ClassAccuracy>,
    /// Counts by true class (row) and predicted class (column); empty where there are more than 1,000 classes.
    pub confusion: Vec<Vec<u32>>,
}

impl Accuracy {
    /// Compares predictions with the true classes of the same samples; `classes` is their number. The intervals
    /// depend on `seed`.
    ///
    /// # Panics
    /// If there are not as many labels as predictions, or a class is not below `classes`.
    ///
    /// # Examples
    /// ```
    /// use clsa_eval::metrics::{Accuracy, Predictions};
    ///
    /// let predictions = Predictions::from_scores(&[0.9, 0.1, 0.4, 0.6, 0.8, 0.2], 2);
    /// let accuracy = Accuracy::of(&predictions, &[0, 1, 1], 2, 0);
    /// assert_eq!(accuracy.confusion, [[1, 0], [1, 1]]);
    /// assert_eq!(accuracy.per_class[1].top1, 50.0);
    /// ```
    pub fn of(predictions: &Predictions, labels: &[u32], classes: usize, seed: u64) -> Self {
        let ranked = &predictions.ranked;
        assert_eq!(ranked.len(), labels.len(), "one label for each prediction");
        let paired = if classes <= MOST_PAIRED { classes } else { 0 };
        let mut confusion = vec![vec![0; paired]; paired];
        let (mut samples, mut right) = (vec![0; classes], vec![0; classes]);
        for (ranked, &label) in ranked.iter().zip(labels) {
            samples[label as usize] += 1;
            let Some(&first) = ranked.first() else { continue };
            right[label as usize] += u32::from(first == label);
            if paired > 0 {
                confusion[label as usize][first as usize] += 1;
            }
        }
        let per_class = (0..classes).filter(|&class| samples[class] > 0).map(|class| ClassAccuracy {
            class: class as u32,
            samples: samples[class],
            top1: 100.0 * f64::from(right[class]) / samples[class] as f64,
        });
        Self {
            top1: Estimate::share(&predictions.hits(1, labels), seed),
            top5: Estimate::share(&predictions.hits(5, labels), seed),
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
    fn pairs_of_very_many_classes_are_not_counted_and_each_class_is() {
        let predictions = Predictions { ranked: vec![vec![1_000_000], vec![3], vec![7, 1_000_000]] };
        let accuracy = Accuracy::of(&predictions, &[1_000_000, 3, 1_000_000], 1_000_001, 0);
        let per_class: Vec<_> = accuracy.per_class.iter().map(|c| (c.class, c.samples, c.top1)).collect();
        assert_eq!(per_class, [(3, 1, 100.0), (1_000_000, 2, 50.0)]);
        assert!(accuracy.confusion.is_empty());
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
}
