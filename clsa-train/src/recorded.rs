//! What a run has recorded of the evaluation after a step.

use clsa_run::Metrics;

/// Which figures of a step are recorded. Whoever is killed in the middle of an evaluation has some of them.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    pub step: u64,
    pub label_free: bool,
    pub probe: bool,
    /// The k-NN accuracy, percent.
    pub knn: Option<f64>,
}

impl Recorded {
    pub fn of(metrics: &Metrics, step: u64) -> Self {
        let knn = metrics.knn.iter().rfind(|record| record.step == step);
        Self {
            step,
            label_free: metrics.label_free.iter().any(|record| record.step == step),
            probe: metrics.probe.iter().any(|record| record.step == step),
            knn: knn.map(|record| record.top1),
        }
    }
}
