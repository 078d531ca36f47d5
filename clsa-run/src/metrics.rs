//! What a run records: `metrics.jsonl`, one object a line, and the same scalars as TensorBoard events.

use crate::folder::RunFolder;
use crate::tensorboard::EventFile;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A training step.
    Step(StepRecord),
    /// A k-NN evaluation.
    Knn(KnnRecord),
    /// A record of another version of this crate, which is passed over.
    #[serde(other, skip_serializing)]
    Unknown,
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
    /// Images of the batch over the step's time, waiting included.
    pub images_per_s: f64,
    /// Seconds that the step waited for its batch.
    pub data_wait_s: f64,
}

/// A k-NN evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnRecord {
    /// Steps taken before it.
    pub step: u64,
    /// Epochs finished before it.
    pub epoch: u64,
    /// Accuracy, percent.
    pub top1: f64,
    /// Accuracy among the five best classes, percent.
    pub top5: f64,
}

/// Records that cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that was written whole is not a record.
    #[error("{}: line {line} is damaged ({reason}); remove that line and repeat the command", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line's number, 1-based.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl MetricsError {
    /// Whether the file that was named is wrong, rather than the machine.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Io { .. } => false,
            Self::Damaged { .. } => true,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// All records of a run, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The training steps.
    pub steps: Vec<StepRecord>,
    /// The k-NN evaluations.
    pub knn: Vec<KnnRecord>,
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
                Ok(Record::Step(step)) => metrics.steps.push(step),
                Ok(Record::Knn(knn)) => metrics.knn.push(knn),
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
}

/// Writes a run's records in both forms.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    lines: BufWriter<File>,
    events: EventFile,
}

impl MetricsWriter {
    /// Opens the records of a run. Lines later than `step` are dropped: a resumed run writes them again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(run: &RunFolder, step: u64) -> Result<Self, MetricsError> {
        let path = run.metrics_file();
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(MetricsError::io(&path))?;
            // A line that was cut off by a crash has no step and goes too.
            let kept = text.lines().filter(|line| step_of(line).is_some_and(|at| at <= step));
            let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
            clsa_files::write_whole(&path, kept.as_bytes()).map_err(MetricsError::io(&path))?;
        }
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(MetricsError::io(&path))?;
        let folder = run.tensorboard();
        let events = fs::create_dir_all(&folder).and_then(|()| EventFile::create_in(&folder));
        let events = events.map_err(MetricsError::io(&folder))?;
        Ok(Self { path, lines: BufWriter::new(lines), events })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The disk is full or the folder gone.
    pub fn write(&mut self, record: &Record) -> Result<(), MetricsError> {
        let written = serde_json::to_writer(&mut self.lines, record).map_err(io::Error::from);
        let written = written.and_then(|()| self.lines.write_all(b"\n")).and_then(|()| self.lines.flush());
        written.map_err(MetricsError::io(&self.path))?;
        let (step, scalars) = match record {
            Record::Step(at) => (
                at.step,
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
            Record::Knn(at) => (at.step, vec![("knn/top1", at.top1), ("knn/top5", at.top5)]),
            Record::Unknown => return Ok(()),
        };
        for (tag, value) in scalars {
            self.events.scalar(tag, step, value as f32).map_err(MetricsError::io(self.events.path()))?;
        }
        Ok(())
    }
}

/// The step of a record of any kind.
fn step_of(line: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct AnyRecord {
        step: u64,
    }
    serde_json::from_str(line).ok().map(|AnyRecord { step }| step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"kind":"step","step":1,"epoch":0,"lr":0.1,"loss":3.5,"contrastive":2.0,"ddm":1.5,"acc1":4.0,"images_per_s":100.0,"data_wait_s":0.01}"#;

    fn read(text: &str) -> Result<Metrics, MetricsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        Metrics::read(&path)
    }

    #[test]
    fn a_record_is_written_as_it_is_read() {
        let record: Record = serde_json::from_str(STEP).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), STEP);
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_passed_over_and_reported() {
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

    #[test]
    fn opening_at_a_step_drops_later_and_cut_off_lines() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::vacant(folder.path()).unwrap();
        let later = STEP.replace("\"step\":1", "\"step\":2");
        fs::write(run.metrics_file(), format!("{STEP}\n{later}\n{}", &later[..40])).unwrap();
        let mut writer = MetricsWriter::open(&run, 1).unwrap();
        let knn = KnnRecord { step: 2, epoch: 1, top1: 50.0, top5: 90.0 };
        writer.write(&Record::Knn(knn)).unwrap();
        let metrics = Metrics::read(&run.metrics_file()).unwrap();
        assert_eq!((metrics.steps.len(), metrics.steps[0].step, metrics.knn), (1, 1, vec![knn]));
    }
}
