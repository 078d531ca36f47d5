//! The section of throughput: images per second, and time spent waiting for data.

use super::curves;
use super::html::{grouped, table};
use super::reported_run::ReportedRun;
use super::training::{NO_STEPS, averaging, drawn};
use maud::{Markup, html};

/// Speed of a run as a whole.
pub(super) struct Throughput {
    /// Median over steps, images per second.
    pub median: f64,
    /// 5th percentile.
    low: f64,
    /// 95th percentile.
    high: f64,
    /// Sum of the steps' times, seconds.
    seconds: f64,
    /// Share of that time that was spent waiting for batches, percent.
    waiting: f64,
}

impl Throughput {
    /// `None` for a run without steps.
    pub(super) fn of(run: &ReportedRun) -> Option<Self> {
        let steps = &run.metrics.steps;
        let mut rates: Vec<f64> = steps.iter().map(|step| step.images_per_s).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| rates.get((share * (rates.len().max(1) - 1) as f64).round() as usize).copied();
        let batch = run.config.train.global_batch() as f64;
        let seconds: f64 = steps.iter().map(|step| batch / step.images_per_s).sum();
        let waited: f64 = steps.iter().map(|step| step.data_wait_s).sum();
        let waiting = (100.0 * waited / seconds).min(100.0);
        Some(Self { median: at(0.5)?, low: at(0.05)?, high: at(0.95)?, seconds, waiting })
    }
}

/// A table of all runs, and curves.
pub(super) fn section(runs: &[ReportedRun]) -> Markup {
    let mut rows = Vec::new();
    for run in runs {
        if let Some(Throughput { median, low, high, seconds, waiting }) = Throughput::of(run) {
            rows.push(vec![
                html! { (run.name) },
                html! { (rounded(median)) " (" (rounded(low)) "–" (rounded(high)) ")" },
                html! { (duration(seconds)) },
                html! { (format!("{waiting:.1} %")) },
            ]);
        }
    }
    let averaged = averaging(runs);
    let speed = drawn(
        &curves::images_per_second(runs),
        "Images per second by step",
        html! { "Images per second, waiting included." (averaged) },
    );
    let waiting = drawn(
        &curves::waiting(runs),
        "Share of time waiting for data by step",
        html! { "Share of the time that steps waited for their batch." (averaged) },
    );
    html! {
        @if rows.is_empty() { p.missing { (NO_STEPS) } } @else {
            (table(Some("Speed of training: the median over steps, and in brackets the 5th and the 95th percentile."), &["run", "images/s", "time in steps", "waiting for data"], &rows))
            div.figures { @for figure in [speed, waiting].into_iter().flatten() { (figure) } }
        }
    }
}

fn rounded(rate: f64) -> String {
    grouped(rate.round() as usize)
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
