//! What a run records: `metrics.jsonl`, one object a line, and the same scalars as TensorBoard events.

use crate::folder::RunFolder;
use crate::label_free::LabelFree;
use crate::metrics_csv::{MetricsCsv, Scalars};
use crate::tensorboard::{EventFile, EventImage};
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
    /// Images of the rank's own batch over the step's time on it, waiting for data included and for other ranks not.
    pub images_per_s: Vec<f64>,
    /// Seconds that the step waited for its batch.
    pub data_wait_s: Vec<f64>,
    /// Seconds that the step waited for other ranks and for what they send.
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

/// Writes a run's records in both forms. A run that goes on from an earlier step writes records of later ones again; those of
/// before stay in the file until [`MetricsWriter::settle`], so that nothing is lost if it fails at once.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    lines: BufWriter<File>,
    /// The step that the run goes on from.
    step: u64,
    /// Bytes of the file that were there before, while some of them are of later steps.
    earlier: Option<u64>,
    /// `metrics.csv`, where it is written too.
    csv: Option<(PathBuf, MetricsCsv)>,
    tensorboard: PathBuf,
    /// Begun by the first record.
    events: Option<EventFile>,
}

impl MetricsWriter {
    /// Opens the records of a run that begins, with `step` 0, or goes on after `step`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(run: &RunFolder, step: u64) -> Result<Self, MetricsError> {
        let path = run.metrics_file();
        let mut bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(MetricsError::io(&path))?,
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            // A line that was cut off by a crash is no record; one that lacks only its end is.
            match serde_json::from_slice::<Record>(&bytes[whole..]) {
                Ok(_) => bytes.push(b'\n'),
                Err(_) => bytes.truncate(whole),
            }
            clsa_files::write_whole(&path, &bytes).map_err(MetricsError::io(&path))?;
        }
        let repeated = kept_lines(&bytes, step).len() < bytes.len();
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(MetricsError::io(&path))?;
        let (lines, earlier) = (BufWriter::new(lines), repeated.then_some(bytes.len() as u64));
        Ok(Self { path, lines, step, earlier, csv: None, tensorboard: run.tensorboard(), events: None })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The disk is full or the folder gone.
    pub fn write(&mut self, record: &Record) -> Result<(), MetricsError> {
        let written = serde_json::to_writer(&mut self.lines, record).map_err(io::Error::from);
        let written = written.and_then(|()| self.lines.write_all(b"\n")).and_then(|()| self.lines.flush());
        written.map_err(MetricsError::io(&self.path))?;
        let Some(scalars) = record.scalars() else { return Ok(()) };
        if let Some((path, csv)) = &mut self.csv {
            csv.write(&scalars).map_err(MetricsError::io(path))?;
        }
        let Scalars { step, values, .. } = scalars;
        let events = self.events()?;
        for (tag, value) in values {
            events.scalar(tag, step, value as f32).map_err(MetricsError::io(events.path()))?;
        }
        Ok(())
    }

    /// Also writes the records as rows of `metrics.csv`, from those on that the run goes on from.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn also_as_csv(&mut self, run: &RunFolder) -> Result<(), MetricsError> {
        let bytes = fs::read(&self.path).map_err(MetricsError::io(&self.path))?;
        let kept = kept_lines(&bytes, self.step);
        let lines = kept.split(|&byte| byte == b'\n');
        let rows = lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok()?.scalars());
        let path = run.metrics_csv();
        let csv = MetricsCsv::begin(&path, rows).map_err(MetricsError::io(&path))?;
        self.csv = Some((path, csv));
        Ok(())
    }

    /// Writes a picture for TensorBoard.
    ///
    /// # Errors
    /// The disk is full or the folder gone.
    pub fn picture(&mut self, tag: &str, step: u64, picture: &EventImage<'_>) -> Result<(), MetricsError> {
        let events = self.events()?;
        events.image(tag, step, picture).map_err(MetricsError::io(events.path()))
    }

    /// Drops the earlier records of later steps than the one that the run goes on from: a checkpoint has taken their place.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn settle(&mut self) -> Result<(), MetricsError> {
        let Some(earlier) = self.earlier else { return Ok(()) };
        let io = || MetricsError::io(&self.path);
        let bytes = fs::read(&self.path).map_err(io())?;
        let (earlier, own) = bytes.split_at_checked(earlier as usize).unwrap_or((&bytes, &[]));
        let kept = [&kept_lines(earlier, self.step)[..], own].concat();
        clsa_files::write_whole(&self.path, &kept).map_err(io())?;
        self.lines = BufWriter::new(OpenOptions::new().append(true).open(&self.path).map_err(io())?);
        self.earlier = None;
        Ok(())
    }

    fn events(&mut self) -> Result<&mut EventFile, MetricsError> {
        if self.events.is_none() {
            let folder = &self.tensorboard;
            let begin = || {
                fs::create_dir_all(folder)?;
                let mut events = EventFile::create_in(folder)?;
                if self.step > 0 {
                    events.resume_after(self.step)?;
                }
                Ok(events)
            };
            self.events = Some(begin().map_err(MetricsError::io(folder))?);
        }
        Ok(self.events.as_mut().expect("just begun"))
    }
}

/// The whole lines of a run up to `step`, each step once: where a run went back and was cut off, those of before count.
fn kept_lines(bytes: &[u8], step: u64) -> Vec<u8> {
    let mut last = 0;
    let mut kept = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if let Some(at) = step_of(line).filter(|&at| at <= step && at >= last) {
            last = at;
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// The step of a record of any kind.
fn step_of(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct AnyRecord {
        step: u64,
    }
    serde_json::from_slice(line).ok().map(|AnyRecord { step }| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics_csv::row;

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
        let metrics = read(&format!("{STEP}\n{}", step(2, 1.0))).unwrap();
        assert_eq!((metrics.steps.len(), metrics.cut_off), (2, false), "a whole last line without its end counts");
    }

    #[test]
    fn a_run_goes_on_after_a_last_line_that_is_no_record_whole_as_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        fs::write(run.metrics_file(), format!("{STEP}\n{{\"step\": 2, \"loss\": 1.0}}")).unwrap();
        drop(MetricsWriter::open(&run, 2).unwrap());
        assert_eq!(losses(&run).len(), 1);
        assert_eq!(fs::read_to_string(run.metrics_file()).unwrap(), format!("{STEP}\n"));
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

    fn step(at: u64, loss: f64) -> String {
        STEP.replace("\"step\":1", &format!("\"step\":{at}")).replace("\"loss\":3.5", &format!("\"loss\":{loss:?}"))
    }

    fn losses(run: &RunFolder) -> Vec<(u64, f64)> {
        Metrics::read(&run.metrics_file()).unwrap().steps.iter().map(|at| (at.step, at.loss)).collect()
    }

    fn record(line: &str) -> Record {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_run_that_goes_back_replaces_later_records_once_it_is_settled_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        let old: Vec<String> = (1..=3).map(|at| step(at, 1.0)).collect();
        let knn = r#"{"kind":"knn","step":3,"epoch":1,"top1":50.0,"top5":90.0}"#;
        fs::write(run.metrics_file(), &old[0]).unwrap();
        drop(MetricsWriter::open(&run, 1).unwrap());
        assert_eq!(
            fs::read_to_string(run.metrics_file()).unwrap(),
            format!("{}\n", old[0]),
            "a whole line gets its end"
        );
        fs::write(run.metrics_file(), format!("{}\n{knn}\n{}", old.join("\n"), &old[0][..40])).unwrap();

        let mut writer = MetricsWriter::open(&run, 1).unwrap();
        assert_eq!(losses(&run), [(1, 1.0), (2, 1.0), (3, 1.0)], "opening loses nothing but the line that was cut off");
        writer.write(&record(&step(2, 2.0))).unwrap();
        assert_eq!(losses(&run), [(1, 1.0), (2, 2.0)], "a reader sees the run as it is now");
        assert!(fs::read_to_string(run.metrics_file()).unwrap().contains(knn), "and nothing is lost yet");

        writer.settle().unwrap();
        writer.write(&record(&step(3, 2.0))).unwrap();
        assert_eq!(losses(&run), [(1, 1.0), (2, 2.0), (3, 2.0)]);
        assert_eq!(fs::read_to_string(run.metrics_file()).unwrap().lines().count(), 3);
    }

    #[test]
    fn a_run_that_went_back_in_vain_keeps_the_records_up_to_its_newest_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        let lines = [step(1, 1.0), step(2, 1.0), step(3, 1.0), step(2, 9.0)];
        fs::write(run.metrics_file(), lines.map(|line| line + "\n").concat()).unwrap();
        let mut writer = MetricsWriter::open(&run, 3).unwrap();
        writer.write(&record(&step(4, 1.0))).unwrap();
        writer.settle().unwrap();
        assert_eq!(losses(&run), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
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
