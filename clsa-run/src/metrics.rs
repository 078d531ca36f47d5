//! What a run records: `metrics.jsonl`, one object a line, and the same scalars as TensorBoard events.

mod csv;
mod error;
mod record;
mod writer;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

pub use error::MetricsError;
pub use record::{AccuracyRecord, LabelFreeRecord, RanksRecord, Record, StepRecord};
pub use writer::MetricsWriter;

/// All records of a run, in the order of the steps. Where a run went on from an earlier step, its newer records count.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The training steps.
    pub steps: Vec<StepRecord>,
    /// The k-NN evaluations.
    pub knn: Vec<AccuracyRecord>,
    /// The evaluations without labels.
    pub label_free: Vec<LabelFreeRecord>,
    /// The evaluations of the online probe.
    pub probe: Vec<AccuracyRecord>,
    /// What the training steps took on each rank; none of a run on one.
    pub ranks: Vec<RanksRecord>,
    /// Whether the last line was cut off, as a killed run leaves it; it is passed over.
    pub cut_off: bool,
}

impl Metrics {
    /// Reads a run's `metrics.jsonl`; a run that has none yet has no records.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it that was written whole is not a record.
    pub fn read(path: &Path) -> Result<Self, MetricsError> {
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(MetricsError::io(path)(error)),
        };
        let (mut metrics, mut line, mut number) = (Self::default(), Vec::new(), 0);
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(MetricsError::io(path))? == 0 {
                return Ok(metrics);
            }
            number += 1;
            match serde_json::from_slice(&line) {
                Ok(Record::Step(step)) => {
                    metrics.go_back_before(step.step);
                    metrics.steps.push(step);
                }
                Ok(Record::Knn(knn)) => metrics.knn.push(knn),
                Ok(Record::LabelFree(label_free)) => metrics.label_free.push(label_free),
                Ok(Record::Probe(probe)) => metrics.probe.push(probe),
                Ok(Record::Ranks(ranks)) => metrics.ranks.push(ranks),
                Ok(Record::Unknown) => {}
                Err(_) if !line.ends_with(b"\n") => metrics.cut_off = true,
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
                    return Err(MetricsError::Damaged { path: path.to_owned(), line: number, reason });
                }
            }
        }
    }

    /// The k-NN evaluation after an epoch, counted from 1; 0 is before the first.
    pub fn knn_after(&self, epoch: u64) -> Option<&AccuracyRecord> {
        self.knn.iter().rfind(|record| record.epoch == epoch)
    }

    /// Forgets the records from a step on.
    fn go_back_before(&mut self, step: u64) {
        /// Records are in the order of their steps, so that most often there is none to look at but the last.
        fn truncate<R>(records: &mut Vec<R>, before: u64, step: fn(&R) -> u64) {
            while records.last().is_some_and(|last| step(last) >= before) {
                records.pop();
            }
        }
        truncate(&mut self.steps, step, |at| at.step);
        truncate(&mut self.knn, step, |at| at.step);
        truncate(&mut self.label_free, step, |at| at.step);
        truncate(&mut self.probe, step, |at| at.step);
        truncate(&mut self.ranks, step, |at| at.step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"kind":"step","step":1,"epoch":0,"lr":0.1,"loss":3.5,"contrastive":2.0,"ddm":1.5,"acc1":4.0,"images_per_s":100.0,"data_wait_s":0.01}"#;

    fn read(text: &str) -> Result<Metrics, MetricsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        Metrics::read(&path)
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_passed_over_and_reported() {
        let metrics = read(&format!("{STEP}\n{}", &STEP[..60])).unwrap();
        assert_eq!((metrics.steps.len(), metrics.cut_off), (1, true));
        let metrics = read(&format!("{STEP}\n{}", STEP.replace("\"step\":1", "\"step\":2"))).unwrap();
        assert_eq!((metrics.steps.len(), metrics.cut_off), (2, false), "a whole last line without its end counts");
    }

    #[test]
    fn a_run_that_goes_back_has_no_evaluations_of_the_steps_that_it_takes_anew() {
        let step = |number: u64| STEP.replace("\"step\":1", &format!("\"step\":{number}"));
        let accuracy = |kind: &str, step: u64| {
            format!("{{\"kind\":\"{kind}\",\"step\":{step},\"epoch\":{},\"top1\":30.0,\"top5\":90.0}}", step / 2)
        };
        let label_free = |step: u64| {
            format!(
                "{{\"kind\":\"label_free\",\"step\":{step},\"epoch\":{},\"images\":9,\"effective_rank\":8.0,\"alignment\":0.5,\
                 \"uniformity\":-2.0,\"own_view_retrieval\":8.0,\"spread\":0.5}}",
                step / 2
            )
        };
        let evaluation = |at: u64| [label_free(at), accuracy("probe", at), accuracy("knn", at)];
        let lines = [&[step(1), step(2)][..], &evaluation(2), &[step(3), step(4)], &evaluation(4)].concat();
        let of = |lines: &[String]| {
            let metrics = read(&(lines.join("\n") + "\n")).unwrap();
            let steps: Vec<u64> = metrics.steps.iter().map(|record| record.step).collect();
            (steps, [metrics.label_free.len(), metrics.probe.len(), metrics.knn.len()])
        };
        assert_eq!(of(&lines), (vec![1, 2, 3, 4], [2; 3]));
        assert_eq!(of(&[&lines[..], &[step(3)]].concat()), (vec![1, 2, 3], [1; 3]));
    }

    #[test]
    fn a_damaged_line_elsewhere_is_named_by_its_number() {
        let error = read(&format!("{STEP}\n{}\n{STEP}\n", &STEP[..60])).unwrap_err();
        assert!(error.is_request() && error.to_string().contains("line 2 is damaged"), "{error}");
    }

    #[test]
    fn records_of_unknown_kinds_and_further_fields_are_passed_over() {
        let more = STEP.replace("\"lr\"", "\"temperature\":0.2,\"lr\"");
        let metrics = read(&format!("{{\"kind\":\"gradients\",\"norm\":1.0}}\n{more}\n")).unwrap();
        assert_eq!((metrics.steps.len(), metrics.knn.len()), (1, 0));
    }
}
