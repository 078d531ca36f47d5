//! A figure in percent with its confidence interval.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Resamplings of the bootstrap.
pub(super) const RESAMPLINGS: u64 = 1000;

/// A figure in percent with its 95 % bootstrap interval (percentile method over test samples; where all of them are right, or none,
/// the exact one; of an average precision, without the bias of resampling).
///
/// # Examples
/// ```
/// use clsa_eval::metrics::Estimate;
///
/// let accuracy = Estimate::share(&[true, true, false, true], 0);
/// assert_eq!(accuracy.value, 75.0);
/// assert!(accuracy.low < 75.0 && accuracy.high > 75.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure on the whole test set.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// A figure that is known, and so has no interval.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// The share of `hits` that are true, in percent. The interval depends on `seed`.
    pub fn share(hits: &[bool], seed: u64) -> Self {
        Self::mean(&hits.iter().map(|&hit| f64::from(u8::from(hit))).collect::<Vec<_>>(), seed)
    }

    /// The mean of `values`, each from 0 to 1 and of one sample, in percent. The interval depends on `seed`.
    pub fn mean(values: &[f64], seed: u64) -> Self {
        let n = values.len();
        if n == 0 {
            return Self::exact(0.0);
        }
        let percent = |sum: f64| 100.0 * sum / n as f64;
        let value = percent(values.iter().sum());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut resampled = || percent((0..n).map(|_| values[rng.random_range(0..n)]).sum());
        let mut estimate = Self::with_samples(value, (0..RESAMPLINGS).map(|_| resampled()).collect());
        // Resampled, values that are all 1, or all 0, are so again. The exact bound (Clopper and Pearson 1934) is the mean at which
        // that happens once in forty times, and for values in between at most as often.
        let bound = 100.0 * 0.025f64.powf(1.0 / n as f64);
        if values.iter().all(|value| *value > 1.0 - 1e-9) {
            estimate.low = bound;
        }
        if values.iter().all(|value| *value == 0.0) {
            estimate.high = 100.0 - bound;
        }
        estimate
    }

    /// A figure whose interval holds 95 % of `samples`, of which there is at least one.
    pub(super) fn with_samples(value: f64, mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| samples[(q * (samples.len() - 1) as f64).round() as usize];
        Self { value, low: at(0.025), high: at(0.975) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_interval_is_close_to_the_normal_approximation() {
        let hits: Vec<bool> = (0..2000).map(|i| i % 10 < 7).collect();
        let figure = Estimate::share(&hits, 3);
        let half = 1.96 * (0.7f64 * 0.3 / 2000.0).sqrt() * 100.0;
        assert_eq!(figure.value, 70.0);
        assert!((figure.low - (70.0 - half)).abs() < 0.3, "{figure:?}");
        assert!((figure.high - (70.0 + half)).abs() < 0.3, "{figure:?}");
        assert_eq!(figure, Estimate::share(&hits, 3), "the interval depends on the seed alone");
    }

    #[test]
    fn an_interval_has_a_width_also_where_all_are_right_or_none() {
        let [all, none] = [true, false].map(|hit| Estimate::share(&[hit; 40], 0));
        // scipy.stats.beta.ppf(0.025, 40, 1)
        assert!((all.low - 91.190).abs() < 1e-3 && all.high == 100.0, "{all:?}");
        assert!((none.high - 8.810).abs() < 1e-3 && none.low == 0.0, "{none:?}");
        assert_eq!((all.value, none.value), (100.0, 0.0));
        // As the shares of forms of an image are added.
        let share: f64 = (0..60).map(|_| 1.0 / 60.0).sum();
        assert!((Estimate::mean(&[share; 40], 0).low - all.low).abs() < 1e-9, "{share}");
        assert_eq!(Estimate::share(&[], 0), Estimate::exact(0.0));
    }
}
