//! Figures of training: loss, learning rate, k-NN accuracy, throughput.

use super::metrics::Step;
use super::plot::{Curves, Series};
use super::subject::Subject;

/// Points of a curve; longer records are averaged.
const POINTS: usize = 300;

/// Means of `value` over equal parts of the steps, each at the last step of its part.
fn averaged(steps: &[Step], value: impl Fn(&Step) -> f64) -> Vec<(f64, f64)> {
    let part = steps.len().div_ceil(POINTS).max(1);
    let mean = |part: &[Step]| {
        let last = part.last().map_or(0, |step| step.step);
        (last as f64, part.iter().map(&value).sum::<f64>() / part.len() as f64)
    };
    steps.chunks(part).map(mean).collect()
}

/// Steps that a point of the run's curves is a mean of.
pub(super) fn averaged_over(subject: &Subject) -> usize {
    subject.metrics.steps.len().div_ceil(POINTS).max(1)
}

/// A curve for each run.
fn by_run(subjects: &[Subject], value: impl Fn(&Step) -> f64) -> Vec<Series> {
    let series = subjects.iter().enumerate().map(|(color, subject)| {
        let points = averaged(&subject.metrics.steps, &value);
        Series { name: subject.name.clone(), points, color, marked: false }
    });
    series.collect()
}

/// Total loss; for a single run with its two terms.
pub(super) fn loss(subjects: &[Subject]) -> Curves {
    let mut series = by_run(subjects, |step| step.loss);
    if let [subject] = subjects {
        let steps = &subject.metrics.steps;
        "total".clone_into(&mut series[0].name);
        let mut add = |name: &str, points| {
            series.push(Series { name: name.to_owned(), points, color: series.len(), marked: false });
        };
        add("contrastive", averaged(steps, |step| step.contrastive));
        if has_ddm(subject) {
            add("DDM", averaged(steps, |step| step.ddm));
        }
    }
    Curves { y_label: "loss", series, from_zero: false, level: None }
}

/// Whether any step had a DDM term.
fn has_ddm(subject: &Subject) -> bool {
    subject.metrics.steps.iter().any(|step| step.ddm != 0.0)
}

pub(super) fn contrastive(subjects: &[Subject]) -> Curves {
    let series = by_run(subjects, |step| step.contrastive);
    Curves { y_label: "contrastive", series, from_zero: false, level: None }
}

/// The DDM term of the runs that have one.
pub(super) fn ddm(subjects: &[Subject]) -> Curves {
    let mut series = by_run(subjects, |step| step.ddm);
    for (series, subject) in series.iter_mut().zip(subjects) {
        if !has_ddm(subject) {
            series.points.clear();
        }
    }
    Curves { y_label: "DDM", series, from_zero: false, level: None }
}

pub(super) fn learning_rate(subjects: &[Subject]) -> Curves {
    let series = by_run(subjects, |step| step.lr);
    Curves { y_label: "learning rate", series, from_zero: true, level: None }
}

/// k-NN accuracy during training: top-1, and top-5 for a single run with more than five classes; chance as a level.
pub(super) fn knn(subjects: &[Subject]) -> Curves {
    let mut series: Vec<Series> = Vec::new();
    for (color, subject) in subjects.iter().enumerate() {
        let knn = &subject.metrics.knn;
        let single = subjects.len() == 1;
        let name = if single { "top-1".to_owned() } else { subject.name.clone() };
        let points = knn.iter().map(|knn| (knn.step as f64, knn.top1)).collect();
        series.push(Series { name, points, color, marked: true });
        if single && subject.classes().len() > 5 {
            let points = knn.iter().map(|knn| (knn.step as f64, knn.top5)).collect();
            series.push(Series { name: "top-5".to_owned(), points, color: 1, marked: true });
        }
    }
    let classes: Vec<usize> = subjects.iter().map(|subject| subject.classes().len()).collect();
    let level = (classes[0] > 0 && classes.iter().all(|&n| n == classes[0])).then(|| 100.0 / classes[0] as f64);
    Curves { y_label: "accuracy, %", series, from_zero: true, level }
}

pub(super) fn images_per_second(subjects: &[Subject]) -> Curves {
    let series = by_run(subjects, |step| step.images_per_s);
    Curves { y_label: "images/s", series, from_zero: true, level: None }
}

/// Share of the time that steps waited for their batch, percent.
pub(super) fn waiting(subjects: &[Subject]) -> Curves {
    let mut series = Vec::new();
    for (color, subject) in subjects.iter().enumerate() {
        let batch = subject.tables.train.batch_size as f64;
        let share = |step: &Step| (100.0 * step.data_wait_s * step.images_per_s / batch).min(100.0);
        let points = averaged(&subject.metrics.steps, share);
        series.push(Series { name: subject.name.clone(), points, color, marked: false });
    }
    Curves { y_label: "waiting, %", series, from_zero: true, level: None }
}

/// Speed of a run as a whole.
pub(super) struct Throughput {
    /// Median over steps, images per second.
    pub median: f64,
    /// 5th and 95th percentile.
    pub range: (f64, f64),
    /// Sum of the steps' times, seconds.
    pub seconds: f64,
    /// Share of that time that was spent waiting for batches, percent.
    pub waiting: f64,
}

impl Throughput {
    /// `None` for a run without steps.
    pub(super) fn of(subject: &Subject) -> Option<Self> {
        let steps = &subject.metrics.steps;
        let mut rates: Vec<f64> = steps.iter().map(|step| step.images_per_s).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| rates.get((share * (rates.len().max(1) - 1) as f64).round() as usize).copied();
        let batch = subject.tables.train.batch_size as f64;
        let seconds: f64 = steps.iter().map(|step| batch / step.images_per_s).sum();
        let waited: f64 = steps.iter().map(|step| step.data_wait_s).sum();
        let range = (at(0.05)?, at(0.95)?);
        Some(Self { median: at(0.5)?, range, seconds, waiting: (100.0 * waited / seconds).min(100.0) })
    }
}
