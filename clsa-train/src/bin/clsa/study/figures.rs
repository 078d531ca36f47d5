//! Figures of several seeds, and what they allow to say.

use std::collections::BTreeMap;

/// The 97.5 % quantile of Student's distribution, for 1 to 9 degrees of freedom.
const T: [f64; 9] =
    [12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004, 2.262_157];

/// Accuracies by variant and seed, percent.
#[derive(Default)]
pub struct Figures(BTreeMap<String, BTreeMap<u64, f64>>);

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub mean: f64,
    /// The 95 % interval is the mean more or less this much; none for one seed.
    pub interval: Option<f64>,
}

impl Figures {
    pub fn add(&mut self, variant: &str, seed: u64, top1: f64) {
        self.0.entry(variant.to_owned()).or_default().insert(seed, top1);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// The accuracies of a variant, in the order of the seeds.
    pub fn of(&self, variant: &str) -> Vec<f64> {
        self.0.get(variant).into_iter().flat_map(|of_seeds| of_seeds.values().copied()).collect()
    }

    /// The mean of a variant.
    pub fn mean(&self, variant: &str) -> Option<Mean> {
        mean(self.of(variant).into_iter())
    }

    /// The mean difference of two variants over the seeds that both have, which share weights and order.
    pub fn difference(&self, variant: &str, against: &str) -> Option<Mean> {
        let (own, other) = (self.0.get(variant)?, self.0.get(against)?);
        mean(own.iter().filter_map(|(seed, top1)| Some(top1 - other.get(seed)?)))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<Mean> {
    let values: Vec<f64> = values.collect();
    let seeds = values.len();
    if seeds == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / seeds as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let interval = |t: &f64| t * (squares / (seeds - 1) as f64 / seeds as f64).sqrt();
    Some(Mean { mean, interval: seeds.checked_sub(2).and_then(|index| T.get(index)).map(interval) })
}

impl Mean {
    /// Whether the interval is on one side of zero.
    pub fn is_told_from_zero(&self) -> bool {
        self.interval.is_some_and(|interval| self.mean.abs() > interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_interval_of_students_distribution() {
        // scipy.stats.t.interval(0.95, 2, loc=2, scale=scipy.stats.sem([1, 2, 3])): 2 -+ 2.484138
        let three = mean([1.0, 2.0, 3.0].into_iter()).unwrap();
        assert!((three.mean - 2.0).abs() < 1e-12 && (three.interval.unwrap() - 2.484_138).abs() < 2e-6, "{three:?}");
        assert!(!three.is_told_from_zero());
        assert_eq!(mean([7.0].into_iter()).unwrap(), Mean { mean: 7.0, interval: None });
        assert!(!mean([7.0].into_iter()).unwrap().is_told_from_zero());
        assert_eq!(mean(std::iter::empty()), None);
    }

    #[test]
    fn a_difference_is_of_the_seeds_that_both_have() {
        let of = |seeds: &[(u64, f64)]| seeds.iter().copied().collect();
        let figures = Figures(BTreeMap::from([
            ("a".to_owned(), of(&[(0, 50.0), (1, 40.0), (2, 30.0)])),
            ("b".to_owned(), of(&[(0, 49.0), (2, 29.0), (3, 99.0)])),
        ]));
        let difference = figures.difference("a", "b").unwrap();
        assert_eq!((difference.mean, difference.interval), (1.0, Some(0.0)));
        assert!(difference.is_told_from_zero());
        assert_eq!(figures.count(), 6);
    }
}
