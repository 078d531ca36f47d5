//! The lines of `metrics.jsonl`.

use super::csv::Scalars;
use crate::label_free::LabelFree;
use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A training step.
    Step(StepRecord),
    /// A k-NN evaluation.
    Knn(AccuracyRecord),
    /// An evaluation without labels.
    LabelFree(LabelFreeRecord),
    /// An evaluation of the online probe.
    Probe(AccuracyRecord),
    /// What a training step took on each of several ranks.
    Ranks(RanksRecord),
    /// A record of another version of this crate, which is passed over.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Record {
    /// The numbers, always in the same order; none of an unknown record.
    pub(crate) fn scalars(&self) -> Option<Scalars> {
        let (step, epoch, values) = match self {
            Self::Step(at) => (
                at.step,
                at.epoch,
                vec![
                    ("train/lr", at.lr),
                    ("train/loss", at.loss),
                    ("train/contrastive", at.contrastive),
                    ("train/ddm", at.ddm),
                    ("train/acc1", at.acc1),
                    ("train/images_per_s", at.images_per_s),
                    ("train/data_wait_s", at.data_wait_s),
                ],
            ),
            Self::Knn(at) => (at.step, at.epoch, vec![("knn/top1", at.top1), ("knn/top5", at.top5)]),
            Self::Probe(at) => (at.step, at.epoch, vec![("probe/top1", at.top1), ("probe/top5", at.top5)]),
            Self::LabelFree(LabelFreeRecord { step, epoch, figures }) => (
                *step,
                *epoch,
                vec![
                    ("label_free/effective_rank", figures.effective_rank),
                    ("label_free/alignment", figures.alignment),
                    ("label_free/uniformity", figures.uniformity),
                    ("label_free/own_view_retrieval", figures.own_view_retrieval),
                    ("label_free/spread", figures.spread),
                ],
            ),
            Self::Ranks(at) => {
                let most = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
                let values = vec![
                    ("ranks/slowest_images_per_s", at.images_per_s.iter().copied().fold(f64::INFINITY, f64::min)),
                    ("ranks/longest_data_wait_s", most(&at.data_wait_s)),
                    ("ranks/longest_communication_s", most(&at.communication_s)),
                ];
                (at.step, at.epoch, values)
            }
            Self::Unknown => return None,
        };
        Some(Scalars { step, epoch, values })
    }
}

/// A training step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps since the beginning, the first is 1.
    pub step: u64,
    /// Epoch, 0-based.
    pub epoch: u64,
    /// Learning rate.
    pub lr: f64,
    /// `contrastive + alpha * ddm`.
    pub loss: f64,
    /// Sum of the InfoNCE terms.
    pub contrastive: f64,
    /// Sum of the DDM terms.
    pub ddm: f64,
    /// Retrieval accuracy of the first weak view, percent.
    pub acc1: f64,
    /// Images of the batch, of all ranks together, over the step's time, waiting included.
    pub images_per_s: f64,
    /// Seconds that the step waited for its batch.
    pub data_wait_s: f64,
}

/// What a training step took on each of several ranks, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RanksRecord {
    /// Steps since the beginning, the first is 1.
    pub step: u64,
    /// Epoch, 0-based.
    pub epoch: u64,
    /// Images of the rank's own batch over the step's time on it, with the wait for data and without `communication_s`. A slow GPU lowers
    /// the figures of all ranks alike.
    pub images_per_s: Vec<f64>,
    /// Seconds that the step waited for its batch.
    pub data_wait_s: Vec<f64>,
    /// Seconds that the rank's processor waited for other ranks and for what they send; what a GPU waits by itself is not counted.
    pub communication_s: Vec<f64>,
}

/// Accuracy of the k-NN monitor or of the online probe.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccuracyRecord {
    /// Steps taken before it.
    pub step: u64,
    /// Epochs finished before it.
    pub epoch: u64,
    /// Accuracy, percent.
    pub top1: f64,
    /// Accuracy among the five best classes, percent.
    pub top5: f64,
}

/// An evaluation without labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelFreeRecord {
    /// Steps taken before it.
    pub step: u64,
    /// Epochs finished before it.
    pub epoch: u64,
    /// The figures.
    #[serde(flatten)]
    pub figures: LabelFree,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::csv::row;

    const STEP: &str = r#"{"kind":"step","step":1,"epoch":0,"lr":0.1,"loss":3.5,"contrastive":2.0,"ddm":1.5,"acc1":4.0,"images_per_s":100.0,"data_wait_s":0.01}"#;

    #[test]
    fn a_record_is_written_as_it_is_read() {
        let record: Record = serde_json::from_str(STEP).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), STEP);
    }

    #[test]
    fn every_number_of_every_record_has_a_column() {
        let figures = LabelFree {
            images: 9,
            effective_rank: 1.5,
            alignment: 2.5,
            uniformity: -3.5,
            own_view_retrieval: 4.5,
            spread: 5.5,
        };
        let step = StepRecord {
            step: 3,
            epoch: 1,
            lr: 0.25,
            loss: 6.5,
            contrastive: 4.0,
            ddm: 2.5,
            acc1: 7.0,
            images_per_s: 8.0,
            data_wait_s: 1e-9,
        };
        let (images_per_s, data_wait_s, communication_s) = (vec![8.0, 6.0], vec![0.5, 0.0], vec![0.125, 0.25]);
        let ranks = RanksRecord { step: 3, epoch: 1, images_per_s, data_wait_s, communication_s };
        let accuracy = AccuracyRecord { step: 3, epoch: 1, top1: 41.5, top5: 90.0 };
        let records = [
            (Record::Step(step), "3,1,0.25,6.5,4,2.5,7,8,0.000000001,,,,,,,,,,,,"),
            (Record::Knn(accuracy), "3,1,,,,,,,,41.5,90,,,,,,,,,,"),
            (Record::Probe(accuracy), "3,1,,,,,,,,,,41.5,90,,,,,,,,"),
            (
                Record::LabelFree(LabelFreeRecord { step: 3, epoch: 1, figures }),
                "3,1,,,,,,,,,,,,1.5,2.5,-3.5,4.5,5.5,,,",
            ),
            (Record::Ranks(ranks), "3,1,,,,,,,,,,,,,,,,,6,0.5,0.25"),
        ];
        for (record, expected) in records {
            let scalars = record.scalars().unwrap();
            assert_eq!(row(&scalars), format!("{expected}\n"));
            let filled = expected.split(',').skip(2).filter(|field| !field.is_empty()).count();
            assert_eq!(filled, scalars.values.len());
        }
        assert!(Record::Unknown.scalars().is_none());
    }
}
