//! How a run writes its records.

use super::Metrics;
use super::csv::{self, Scalars};
use super::error::MetricsError;
use super::record::Record;
use crate::folder::RunFolder;
use crate::tensorboard::{EventFile, EventImage};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// Writes a run's records in all their forms. A run that goes on from an earlier step writes records of later ones again; those of
/// before stay in the file until [`MetricsWriter::settle`], so that nothing is lost if it fails at once.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    lines: BufWriter<File>,
    /// The step that the run goes on from.
    step: u64,
    /// Bytes of the file that were there before, while some of them are of later steps.
    earlier: Option<u64>,
    /// Whether a run has gone back behind `step` and has recorded steps again.
    has_detour: bool,
    /// `metrics.csv`, where it is written too; a row is in it when its call returns.
    csv: Option<(PathBuf, File)>,
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
        let (kept, has_detour) = kept_lines(&bytes, step);
        let earlier = (kept.len() < bytes.len()).then_some(bytes.len() as u64);
        let lines = OpenOptions::new().create(true).append(true).open(&path).map_err(MetricsError::io(&path))?;
        let (lines, tensorboard) = (BufWriter::new(lines), run.tensorboard());
        Ok(Self { path, lines, step, earlier, has_detour, csv: None, tensorboard, events: None })
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
        if let Some((path, file)) = &mut self.csv {
            file.write_all(csv::row(&scalars).as_bytes()).map_err(MetricsError::io(path))?;
        }
        let Scalars { step, values, .. } = scalars;
        let events = self.events()?;
        for (tag, value) in values {
            events.scalar(tag, step, value as f32).map_err(MetricsError::io(events.path()))?;
        }
        Ok(())
    }

    /// Brings the records to the disk: a checkpoint must not outlast those of the steps before it.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn sync(&self) -> Result<(), MetricsError> {
        clsa_files::sync(self.lines.get_ref()).map_err(MetricsError::io(&self.path))
    }

    /// Also writes the records as rows of `metrics.csv`, from those on that the run goes on from.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn also_as_csv(&mut self, run: &RunFolder) -> Result<(), MetricsError> {
        let bytes = fs::read(&self.path).map_err(MetricsError::io(&self.path))?;
        let (kept, _) = kept_lines(&bytes, self.step);
        let lines = kept.split(|&byte| byte == b'\n');
        let rows = lines.filter_map(|line| serde_json::from_slice::<Record>(line).ok()?.scalars());
        let path = run.metrics_csv();
        let file = csv::begin(&path, rows).map_err(MetricsError::io(&path))?;
        self.csv = Some((path, file));
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

    /// Where a run has gone back and has ended without a checkpoint, drops what it has recorded, and all records of later steps than the
    /// one that the run now goes on from, which is that of its newest checkpoint. Other records stay until [`MetricsWriter::settle`].
    ///
    /// # Errors
    /// A line is not a record, or the folder cannot be written.
    pub fn drop_detour(&mut self) -> Result<(), MetricsError> {
        if self.has_detour {
            // A damaged line is told, and does not go with the others.
            Metrics::read(&self.path)?;
            self.settle()?;
        }
        Ok(())
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
        let kept = [&kept_lines(earlier, self.step).0[..], own].concat();
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

/// The whole lines of a run up to `step`, each step once, and whether one of these steps was there again: where a run went back and was
/// cut off, the lines of before count.
fn kept_lines(bytes: &[u8], step: u64) -> (Vec<u8>, bool) {
    /// A record of any kind.
    #[derive(Deserialize)]
    struct AnyRecord<'a> {
        kind: &'a str,
        step: u64,
    }
    let (mut last, mut is_repeated, mut has_detour) = (0, false, false);
    let mut kept = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Ok(AnyRecord { kind, step: at }) = serde_json::from_slice(line) else { continue };
        if kind == "step" {
            is_repeated = at <= last;
        }
        // An attempt may have evaluated, and taken no step.
        has_detour |= is_repeated || at < last;
        if !is_repeated && (last..=step).contains(&at) {
            last = at;
            kept.extend_from_slice(line);
        }
    }
    (kept, has_detour)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a step.
    fn step(at: u64, loss: f64) -> String {
        format!(
            r#"{{"kind":"step","step":{at},"epoch":0,"lr":0.1,"loss":{loss:?},"contrastive":2.0,"ddm":1.5,"acc1":4.0,"images_per_s":100.0,"data_wait_s":0.01}}"#
        )
    }

    fn losses(run: &RunFolder) -> Vec<(u64, f64)> {
        Metrics::read(&run.metrics_file()).unwrap().steps.iter().map(|at| (at.step, at.loss)).collect()
    }

    fn record(line: &str) -> Record {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_run_goes_on_after_a_last_line_that_is_no_record_whole_as_it_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        fs::write(run.metrics_file(), format!("{}\n{{\"step\": 2, \"loss\": 1.0}}", step(1, 1.0))).unwrap();
        drop(MetricsWriter::open(&run, 2).unwrap());
        assert_eq!(losses(&run).len(), 1);
        assert_eq!(fs::read_to_string(run.metrics_file()).unwrap(), format!("{}\n", step(1, 1.0)));
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
    fn records_of_a_run_that_went_back_in_vain_go_at_once_and_those_after_a_checkpoint_stay() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        let opened = |lines: &[String]| {
            fs::write(run.metrics_file(), lines.concat()).unwrap();
            let dropped = MetricsWriter::open(&run, 3).unwrap().drop_detour();
            dropped.map(|()| fs::read_to_string(run.metrics_file()).unwrap())
        };
        let knn = r#"{"kind":"knn","step":3,"epoch":1,"top1":50.0,"top5":90.0}"#.to_owned();
        let whole = [step(1, 1.0), step(2, 1.0), step(3, 1.0), knn].map(|line| line + "\n");
        let again = [step(2, 9.0) + "\n"];

        assert_eq!(opened(&[&whole[..], &again].concat()).unwrap(), whole.concat());
        let evaluated = [r#"{"kind":"knn","step":2,"epoch":1,"top1":9.0,"top5":90.0}"#.to_owned() + "\n"];
        assert_eq!(opened(&[&whole[..], &evaluated].concat()).unwrap(), whole.concat());
        // Killed twice after the checkpoint.
        let killed = [&whole[..], &[step(4, 1.0), step(4, 1.0)].map(|line| line + "\n")].concat();
        assert_eq!(opened(&killed).unwrap(), killed.concat());
        let damaged = [&whole[..], &["{\n".to_owned()], &again].concat();
        assert!(opened(&damaged).unwrap_err().to_string().contains("line 5 is damaged"));
        assert_eq!(fs::read_to_string(run.metrics_file()).unwrap(), damaged.concat());
    }

    #[test]
    fn a_run_that_went_back_and_came_as_far_again_without_a_checkpoint_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        let knn = r#"{"kind":"knn","step":3,"epoch":1,"top1":50.0,"top5":90.0}"#.to_owned();
        let other = r#"{"kind":"knn","step":3,"epoch":1,"top1":20.0,"top5":90.0}"#.to_owned();
        let lines = [step(1, 1.0), step(2, 1.0), step(3, 1.0), knn, step(2, 9.0), step(3, 9.0), other];
        fs::write(run.metrics_file(), lines.map(|line| line + "\n").concat()).unwrap();
        let mut writer = MetricsWriter::open(&run, 3).unwrap();
        writer.write(&record(&step(4, 1.0))).unwrap();
        writer.settle().unwrap();
        assert_eq!(losses(&run), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
        assert_eq!(Metrics::read(&run.metrics_file()).unwrap().knn[0].top1, 50.0);
    }
}
