//! Average precision of multi-label scores, as scikit-learn and as PASCAL VOC 2007 define it.

use super::Estimate;
use super::estimate::RESAMPLINGS;
use clsa_data::Presence;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Average precision over the classes of a multi-label test set, percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AveragePrecision {
    /// Mean over classes of the area under the precision-recall curve.
    #[serde(rename = "mean_average_precision")]
    pub mean: Estimate,
    /// Mean over classes of the 11-point version of VOC 2007.
    #[serde(rename = "mean_average_precision_11_point")]
    pub mean_11_point: Estimate,
    /// Each class that is present in some test image; the means are over these.
    pub per_class: Vec<ClassPrecision>,
}

/// Average precision of one class, percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassPrecision {
    /// Number of the class.
    pub class: u32,
    /// Test images that show it.
    pub positives: usize,
    /// Area under the precision-recall curve.
    pub area: f64,
    /// 11-point version.
    pub eleven_point: f64,
}

impl ClassPrecision {
    fn of(class: usize, positives: usize, precisions: Precisions) -> Self {
        let Precisions { area, eleven_point } = precisions;
        Self { class: class as u32, positives, area: 100.0 * area, eleven_point: 100.0 * eleven_point }
    }
}

impl AveragePrecision {
    /// From `scores` (row-major, one row for each image, one column for each class) and the labels of the images. Images
    /// that show a class only as difficult objects count neither as right nor as wrong for that class. The intervals are
    /// of 1000 resampled test sets, without their bias, and depend on `seed`.
    ///
    /// # Panics
    /// If `scores` has not as many values as all labels together, or rows differ in length.
    ///
    /// # Examples
    /// ```
    /// use clsa_eval::clsa_data::Presence::{Absent, Present};
    /// use clsa_eval::metrics::AveragePrecision;
    ///
    /// let precision = AveragePrecision::of(&[0.9, 0.2, 0.7], &[[Present], [Absent], [Present]], 0);
    /// assert_eq!((precision.mean.value, precision.per_class[0].positives), (100.0, 2));
    /// ```
    pub fn of(scores: &[f64], labels: &[impl AsRef<[Presence]> + Sync], seed: u64) -> Self {
        let classes = ranked_classes(scores, labels);
        let once = vec![1; labels.len()];
        let per_class: Vec<ClassPrecision> = classes
            .iter()
            .enumerate()
            .filter_map(|(class, ranked)| {
                let positives = ranked.iter().filter(|item| item.positive).count();
                Some(ClassPrecision::of(class, positives, precisions(ranked, &once)?))
            })
            .collect();
        let resampled: Vec<Precisions> = (0..RESAMPLINGS)
            .into_par_iter()
            .map(|draw| {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ (draw << 32));
                let mut counts = vec![0; labels.len()];
                (0..labels.len()).for_each(|_| counts[rng.random_range(0..labels.len())] += 1);
                mean(classes.iter().filter_map(|ranked| precisions(ranked, &counts)))
            })
            .collect();
        let value = mean(classes.iter().filter_map(|ranked| precisions(ranked, &once)));
        let (mean, mean_11_point) = estimates(value, &resampled);
        Self { mean, mean_11_point, per_class }
    }

    /// What random scores reach on images with these labels: the mean over 1000 random orders, with the interval that
    /// 95 % of them are in.
    ///
    /// # Panics
    /// If rows differ in length.
    pub fn of_chance(labels: &[impl AsRef<[Presence]> + Sync], seed: u64) -> Self {
        let classes = labels.first().map_or(0, |label| label.as_ref().len());
        let once = vec![1; labels.len()];
        let drawn: Vec<Vec<Option<Precisions>>> = (0..RESAMPLINGS)
            .into_par_iter()
            .map(|draw| {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ (draw << 32));
                let scores: Vec<f64> = (0..labels.len() * classes).map(|_| rng.random()).collect();
                ranked_classes(&scores, labels).iter().map(|ranked| precisions(ranked, &once)).collect()
            })
            .collect();
        let all: Vec<Precisions> = drawn.iter().map(|draw| mean(draw.iter().flatten().copied())).collect();
        let per_class = (0..classes).filter_map(|class| {
            let positives = labels.iter().filter(|label| label.as_ref()[class] == Presence::Present).count();
            let mean = mean(drawn.iter().filter_map(|draw| draw[class]));
            (positives > 0).then(|| ClassPrecision::of(class, positives, mean))
        });
        let (mean, mean_11_point) = estimates(mean(all.iter().copied()), &all);
        Self { mean, mean_11_point, per_class: per_class.collect() }
    }
}

/// Average precision of one class, from 0 to 1, by both definitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precisions {
    /// Area under the precision-recall curve.
    pub area: f64,
    /// Mean of the highest precisions at eleven recalls.
    pub eleven_point: f64,
}

/// Average precision of one class over `(score, positive)`: the area `Σ (R_n - R_{n-1}) · P_n` over falling thresholds
/// (scikit-learn's `average_precision_score`), and VOC 2007's mean over eleven recalls 0, 0.1, …, 1 of the highest precision
/// at that recall or more. Equal scores are one threshold. `None` without a positive.
pub fn average_precision(scored: &[(f64, bool)]) -> Option<Precisions> {
    let mut ranked: Vec<Item> =
        scored.iter().enumerate().map(|(image, &(score, positive))| Item { score, positive, image }).collect();
    sort(&mut ranked);
    precisions(&ranked, &vec![1; scored.len()])
}

/// The mean over classes of the area under the precision-recall curve, from 0 to 1, as [`AveragePrecision::of`] has it; none where no
/// image shows any of the classes.
pub(crate) fn mean_area(scores: &[f64], labels: &[impl AsRef<[Presence]>]) -> Option<f64> {
    let once = vec![1; labels.len()];
    let classes = ranked_classes(scores, labels);
    let found: Vec<Precisions> = classes.iter().filter_map(|ranked| precisions(ranked, &once)).collect();
    (!found.is_empty()).then(|| mean(found.into_iter()).area)
}

/// An image in the order of one class's scores.
struct Item {
    score: f64,
    positive: bool,
    image: usize,
}

fn sort(ranked: &mut [Item]) {
    ranked.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.image.cmp(&b.image)));
}

/// For each class its images without those where it is difficult, highest score first.
fn ranked_classes(scores: &[f64], labels: &[impl AsRef<[Presence]>]) -> Vec<Vec<Item>> {
    let classes = labels.first().map_or(0, |label| label.as_ref().len());
    assert_eq!(scores.len(), labels.len() * classes, "one score for each image and class");
    (0..classes)
        .map(|class| {
            let present = labels.iter().enumerate().filter_map(|(image, label)| {
                let positive = match label.as_ref()[class] {
                    Presence::Present => true,
                    Presence::Absent => false,
                    Presence::Difficult => return None,
                };
                Some(Item { score: scores[image * classes + class], positive, image })
            });
            let mut ranked: Vec<Item> = present.collect();
            sort(&mut ranked);
            ranked
        })
        .collect()
}

/// Both average precisions of ranked images, each image counted as often as `counts` says.
fn precisions(ranked: &[Item], counts: &[u32]) -> Option<Precisions> {
    let positives: u32 = ranked.iter().filter(|item| item.positive).map(|item| counts[item.image]).sum();
    if positives == 0 {
        return None;
    }
    let (mut found, mut seen, mut found_before, mut area) = (0u32, 0u32, 0u32, 0.0);
    // Highest precision at a recall of n/10 or more: filled at the largest n that a threshold reaches, then carried down.
    let mut highest = [0f64; 11];
    for (at, item) in ranked.iter().enumerate() {
        let count = counts[item.image];
        seen += count;
        found += if item.positive { count } else { 0 };
        let tied = ranked.get(at + 1).is_some_and(|next| next.score == item.score);
        if tied || seen == 0 {
            continue;
        }
        let precision = f64::from(found) / f64::from(seen);
        let tenths = (10 * u64::from(found) / u64::from(positives)) as usize;
        highest[tenths] = highest[tenths].max(precision);
        area += precision * f64::from(found - found_before);
        found_before = found;
    }
    for tenth in (0..10).rev() {
        highest[tenth] = highest[tenth].max(highest[tenth + 1]);
    }
    Some(Precisions { area: area / f64::from(positives), eleven_point: highest.iter().sum::<f64>() / 11.0 })
}

/// The mean of both precisions; 0 of none.
fn mean(all: impl Iterator<Item = Precisions>) -> Precisions {
    let (mut count, mut sum) = (0usize, Precisions { area: 0.0, eleven_point: 0.0 });
    for Precisions { area, eleven_point } in all {
        count += 1;
        sum.area += area;
        sum.eleven_point += eleven_point;
    }
    let count = count.max(1) as f64;
    Precisions { area: sum.area / count, eleven_point: sum.eleven_point / count }
}

/// Area and 11-point version in percent, each with the interval that 95 % of the samples are in, moved until their mean is the value.
fn estimates(value: Precisions, samples: &[Precisions]) -> (Estimate, Estimate) {
    let estimate = |part: fn(&Precisions) -> f64| {
        // A positive image that is drawn twice stands beside itself, so that precisions of resampled images are too high.
        let bias = samples.iter().map(part).sum::<f64>() / samples.len() as f64 - part(&value);
        let moved = samples.iter().map(|sample| 100.0 * (part(sample) - bias).clamp(0.0, 1.0));
        Estimate::with_samples(100.0 * part(&value), moved.collect())
    };
    (estimate(|precisions| precisions.area), estimate(|precisions| precisions.eleven_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_moved_back_by_what_resampled_precisions_are_too_high() {
        let of = |area: f64| Precisions { area, eleven_point: area };
        let samples: Vec<Precisions> = (0..=1000u32).map(|at| of(0.3 + 0.1 * f64::from(at) / 1000.0)).collect();
        let (mean, _) = estimates(of(0.32), &samples);
        assert!(mean.value == 32.0 && (mean.low - 27.25).abs() < 1e-9 && (mean.high - 36.75).abs() < 1e-9, "{mean:?}");
    }
}
