//! What a run recorded while it trained: `metrics.jsonl`, written by `clsa-train`.

use crate::EvalError;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

/// A training step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Step {
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
    /// Images of the batch over the step's time, waiting included.
    pub images_per_s: f64,
    /// Seconds that the step waited for its batch.
    pub data_wait_s: f64,
}

/// A k-NN evaluation during training.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Knn {
    /// Steps taken before it.
    pub step: u64,
    /// Epochs finished before it.
    pub epoch: u64,
    /// Accuracy, percent.
    pub top1: f64,
    /// Accuracy among the five best classes, percent.
    pub top5: f64,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Step(Step),
    Knn(Knn),
    /// A record that the report does not show.
    #[serde(other)]
    Other,
}

/// All records of a run, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metrics {
    pub steps: Vec<Step>,
    pub knn: Vec<Knn>,
    /// Whether the last line was cut off, as a killed run leaves it; it is passed over.
    pub cut_off: bool,
}

impl Metrics {
    /// Reads the file; a run that has none yet has no records.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it that was written whole is not a record.
    pub(super) fn read(path: &Path) -> Result<Self, EvalError> {
        let io = |source| EvalError::Io { path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(error)),
        };
        let (mut metrics, mut line, mut number) = (Self::default(), Vec::new(), 0);
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(io)? == 0 {
                return Ok(metrics);
            }
            number += 1;
            match serde_json::from_slice(&line) {
                Ok(Line::Step(step)) => metrics.steps.push(step),
                Ok(Line::Knn(knn)) => metrics.knn.push(knn),
                Ok(Line::Other) => {}
                Err(_) if !line.ends_with(b"\n") => metrics.cut_off = true,
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default();
                    let reason =
                        format!("line {number} is damaged ({reason}); remove that line and repeat the command");
                    return Err(EvalError::Run { path: path.to_owned(), reason });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"kind":"step","step":1,"epoch":0,"lr":0.1,"loss":3.5,"contrastive":2.0,"ddm":1.5,"acc1":4.0,"images_per_s":100.0,"data_wait_s":0.01}"#;

    fn read(text: &str) -> Result<Metrics, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        Metrics::read(&path)
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_passed_over_and_told() {
        let metrics = read(&format!("{STEP}\n{}", &STEP[..60])).unwrap();
        assert_eq!((metrics.steps.len(), metrics.cut_off), (1, true));
        let metrics = read(&format!("{STEP}\n{STEP}")).unwrap();
        assert_eq!((metrics.steps.len(), metrics.cut_off), (2, false), "a whole last line without its end counts");
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
