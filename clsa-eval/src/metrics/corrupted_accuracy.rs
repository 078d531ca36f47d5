//! Accuracy on corrupted images.

use super::Estimate;
use clsa_augment::Corruption;
use serde::{Deserialize, Serialize};

/// Top-1 accuracy of a classifier on test images under common corruptions, percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorruptedAccuracy {
    /// Mean over corruptions and severities. The interval is over test images: an image's corrupted forms belong together.
    pub corrupted: Estimate,
    /// Of the same images as they are.
    pub clean: Estimate,
    /// By corruption, in the order of [`Corruption::ALL`].
    pub by_corruption: Vec<CorruptionAccuracy>,
}

/// Top-1 accuracy under one corruption, percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorruptionAccuracy {
    /// The corruption.
    pub corruption: Corruption,
    /// By severity, in the order of [`Corruption::SEVERITIES`].
    pub by_severity: [f64; Corruption::SEVERITIES.len()],
}

/// Which test images a classifier names rightly under one corruption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptionHits {
    /// The corruption.
    pub corruption: Corruption,
    /// By severity, then by image.
    pub by_severity: [Vec<bool>; Corruption::SEVERITIES.len()],
}

impl CorruptionAccuracy {
    /// Mean over the severities.
    pub fn mean(&self) -> f64 {
        self.by_severity.iter().sum::<f64>() / self.by_severity.len() as f64
    }
}

impl CorruptedAccuracy {
    /// Mean over the corruptions, by severity.
    pub fn by_severity(&self) -> [f64; Corruption::SEVERITIES.len()] {
        let mean = |severity: usize| self.by_corruption.iter().map(|of| of.by_severity[severity]).sum::<f64>();
        std::array::from_fn(|severity| mean(severity) / self.by_corruption.len() as f64)
    }

    /// From which images are named rightly as they are, and which under each corruption. The intervals depend on `seed`.
    ///
    /// # Panics
    /// If there is no corruption, or the images are not as many everywhere.
    ///
    /// # Examples
    /// ```
    /// use clsa_eval::clsa_augment::Corruption;
    /// use clsa_eval::metrics::{CorruptedAccuracy, CorruptionHits};
    ///
    /// let by_severity = [[true, true], [true, true], [true, false], [true, false], [false, false]].map(Vec::from);
    /// let fog = CorruptionHits { corruption: Corruption::Fog, by_severity };
    /// let accuracy = CorruptedAccuracy::of(&[true, true], &[fog], 0);
    /// assert_eq!((accuracy.clean.value, accuracy.corrupted.value), (100.0, 60.0));
    /// assert_eq!(accuracy.by_corruption[0].by_severity, [100.0, 100.0, 50.0, 50.0, 0.0]);
    /// ```
    pub fn of(clean: &[bool], corrupted: &[CorruptionHits], seed: u64) -> Self {
        assert!(!corrupted.is_empty(), "at least one corruption");
        let mut shares = vec![0.0; clean.len()];
        let weight = 1.0 / (corrupted.len() * Corruption::SEVERITIES.len()) as f64;
        for hits in corrupted.iter().flat_map(|of| &of.by_severity) {
            assert_eq!(hits.len(), clean.len(), "the same images everywhere");
            shares.iter_mut().zip(hits).filter(|(_, hit)| **hit).for_each(|(share, _)| *share += weight);
        }
        let percent =
            |hits: &Vec<bool>| 100.0 * hits.iter().filter(|hit| **hit).count() as f64 / hits.len().max(1) as f64;
        let by_corruption = corrupted.iter().map(|CorruptionHits { corruption, by_severity }| CorruptionAccuracy {
            corruption: *corruption,
            by_severity: by_severity.each_ref().map(percent),
        });
        let by_corruption: Vec<CorruptionAccuracy> = by_corruption.collect();
        let mut mean = Estimate::mean(&shares, seed);
        // The sum in another order: the figure is that of the mean of the figures below it.
        mean.value = by_corruption.iter().map(CorruptionAccuracy::mean).sum::<f64>() / by_corruption.len() as f64;
        Self { corrupted: mean, clean: Estimate::share(clean, seed), by_corruption }
    }
}
