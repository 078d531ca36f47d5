//! How a run is shown while it goes on.

use crate::progress::Progress;
use crate::streams::say_always;
use clsa_run::{AccuracyRecord, LabelFree, LabelFreeRecord, StepRecord};
use clsa_train::Observer;

/// Shows a run on the error stream.
pub struct ShownRun {
    pub progress: Progress,
    /// The number of a rank that only warns.
    pub rank: Option<usize>,
}

impl Observer for ShownRun {
    fn step(&mut self, at: &StepRecord, steps: u64) {
        let StepRecord { loss, contrastive, ddm, lr, images_per_s, .. } = at;
        let message = format!(
            "loss {loss:.3} (contrastive {contrastive:.3}, ddm {ddm:.3}) lr {} {images_per_s:.0} images/s",
            short(*lr)
        );
        self.progress.at_with(at.step, steps, &message);
    }

    fn knn(&mut self, record: &AccuracyRecord) {
        self.progress.line(&format!("epoch {}: k-NN accuracy {:.1} %", record.epoch, record.top1));
    }

    fn probe(&mut self, record: &AccuracyRecord) {
        self.progress.line(&format!("epoch {}: linear probe accuracy {:.1} %", record.epoch, record.top1));
    }

    fn label_free(&mut self, record: &LabelFreeRecord) {
        let LabelFree { effective_rank, own_view_retrieval, .. } = record.figures;
        self.progress.line(&format!(
            "epoch {}: effective rank {effective_rank:.1}, own-view retrieval {own_view_retrieval:.1} %",
            record.epoch
        ));
    }

    fn warning(&mut self, text: &str) {
        match self.rank {
            None => self.progress.line(&format!("warning: {text}")),
            Some(rank) => say_always(format_args!("warning: rank {rank}: {text}")),
        }
    }
}

/// A learning rate in few letters, however small it is.
fn short(lr: f64) -> String {
    if lr > 0.0 && lr < 1e-3 { format!("{lr:.2e}") } else { format!("{lr:.4}") }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn small_learning_rates_are_told_apart() {
        let shown = [0.0, 1e-6, 1.5e-4, 1.75e-4, 0.0015, 0.06, 4.8].map(short);
        assert_eq!(shown, ["0.0000", "1.00e-6", "1.50e-4", "1.75e-4", "0.0015", "0.0600", "4.8000"]);
    }
}
