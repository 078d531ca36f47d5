//! Curves of training: loss, learning rate, k-NN accuracy, throughput.

use super::plot::{Curves, Series};
use super::reported_run::ReportedRun;
use clsa_run::{LabelFree, StepRecord};

/// Points of a curve; longer records are averaged.
const POINTS: usize = 300;

/// Means of `value` over equal parts of the steps, each at the last step of its part.
fn averaged(steps: &[StepRecord], value: impl Fn(&StepRecord) -> f64) -> Vec<(f64, f64)> {
    let mean = |part: &[StepRecord]| {
        let last = part.last().map_or(0, |step| step.step);
        (last as f64, part.iter().map(&value).sum::<f64>() / part.len() as f64)
    };
    steps.chunks(averaged_over(steps)).map(mean).collect()
}

/// Steps that a point of a curve is a mean of.
pub(super) fn averaged_over(steps: &[StepRecord]) -> usize {
    steps.len().div_ceil(POINTS).max(1)
}

/// A curve for each run.
fn by_run(runs: &[ReportedRun], marked: bool, points: impl Fn(&ReportedRun) -> Vec<(f64, f64)>) -> Vec<Series> {
    let series = runs.iter().enumerate();
    series.map(|(color, run)| Series { name: run.name.clone(), points: points(run), color, marked }).collect()
}

/// A curve of the steps for each run.
fn of_steps(runs: &[ReportedRun], value: impl Fn(&StepRecord) -> f64) -> Vec<Series> {
    by_run(runs, false, |run| averaged(&run.metrics.steps, &value))
}

/// Total loss; for a single run with its two terms.
pub(super) fn loss(runs: &[ReportedRun]) -> Curves {
    let mut series = of_steps(runs, |step| step.loss);
    if let [run] = runs {
        let steps = &run.metrics.steps;
        "total".clone_into(&mut series[0].name);
        let mut add = |name: &str, points| {
            series.push(Series { name: name.to_owned(), points, color: series.len(), marked: false });
        };
        add("contrastive", averaged(steps, |step| step.contrastive));
        if has_ddm(run) {
            add("DDM", averaged(steps, |step| step.ddm));
        }
    }
    Curves { y_label: "loss", series, from_zero: false, level: None }
}

/// Whether any step had a DDM term.
fn has_ddm(run: &ReportedRun) -> bool {
    run.metrics.steps.iter().any(|step| step.ddm != 0.0)
}

pub(super) fn contrastive(runs: &[ReportedRun]) -> Curves {
    let series = of_steps(runs, |step| step.contrastive);
    Curves { y_label: "contrastive", series, from_zero: false, level: None }
}

/// The DDM term of the runs that have one.
pub(super) fn ddm(runs: &[ReportedRun]) -> Curves {
    let mut series = of_steps(runs, |step| step.ddm);
    for (series, run) in series.iter_mut().zip(runs) {
        if !has_ddm(run) {
            series.points.clear();
        }
    }
    Curves { y_label: "DDM", series, from_zero: false, level: None }
}

pub(super) fn learning_rate(runs: &[ReportedRun]) -> Curves {
    let series = of_steps(runs, |step| step.lr);
    Curves { y_label: "learning rate", series, from_zero: true, level: None }
}

/// k-NN accuracy during training: top-1, and for a single run top-5, where it has more than five classes, and the accuracy of the online
/// probe, where it has one; chance as a level.
pub(super) fn knn(runs: &[ReportedRun]) -> Curves {
    let mut series: Vec<Series> = Vec::new();
    for (color, run) in runs.iter().enumerate() {
        let knn = &run.metrics.knn;
        let single = runs.len() == 1;
        let name = if single { "top-1".to_owned() } else { run.name.clone() };
        let points = knn.iter().map(|knn| (knn.step as f64, knn.top1)).collect();
        series.push(Series { name, points, color, marked: true });
        if single && run.classes().len() > 5 {
            let points = knn.iter().map(|knn| (knn.step as f64, knn.top5)).collect();
            series.push(Series { name: "top-5".to_owned(), points, color: 1, marked: true });
        }
    }
    if let [run] = runs
        && !run.metrics.probe.is_empty()
    {
        let points = run.metrics.probe.iter().map(|probe| (probe.step as f64, probe.top1)).collect();
        series.push(Series { name: "online linear probe".to_owned(), points, color: 2, marked: true });
    }
    let classes: Vec<usize> = runs.iter().map(|run| run.classes().len()).collect();
    let level = (classes[0] > 0 && classes.iter().all(|&n| n == classes[0])).then(|| 100.0 / classes[0] as f64);
    Curves { y_label: "accuracy, %", series, from_zero: true, level }
}

/// Accuracy of the online probes.
pub(super) fn probe(runs: &[ReportedRun]) -> Curves {
    let series =
        by_run(runs, true, |run| run.metrics.probe.iter().map(|probe| (probe.step as f64, probe.top1)).collect());
    Curves { y_label: "accuracy, %", series, from_zero: true, level: None }
}

/// Images whose own second view is the nearest, percent.
pub(super) fn own_view_retrieval(runs: &[ReportedRun]) -> Curves {
    let series = label_free(runs, |figures| figures.own_view_retrieval);
    Curves { y_label: "found, %", series, from_zero: true, level: None }
}

/// Directions that embeddings use.
pub(super) fn effective_rank(runs: &[ReportedRun]) -> Curves {
    let series = label_free(runs, |figures| figures.effective_rank);
    Curves { y_label: "effective rank", series, from_zero: true, level: None }
}

/// A curve of the label-free evaluations for each run.
fn label_free(runs: &[ReportedRun], value: impl Fn(&LabelFree) -> f64) -> Vec<Series> {
    by_run(runs, true, |run| {
        run.metrics.label_free.iter().map(|record| (record.step as f64, value(&record.figures))).collect()
    })
}

pub(super) fn images_per_second(runs: &[ReportedRun]) -> Curves {
    let series = of_steps(runs, |step| step.images_per_s);
    Curves { y_label: "images/s", series, from_zero: true, level: None }
}

/// Share of the time that steps waited for their batch, percent.
pub(super) fn waiting(runs: &[ReportedRun]) -> Curves {
    let series = by_run(runs, false, |run| {
        let batch = run.config.train.global_batch() as f64;
        averaged(&run.metrics.steps, |step| (100.0 * step.data_wait_s * step.images_per_s / batch).min(100.0))
    });
    Curves { y_label: "waiting, %", series, from_zero: true, level: None }
}
