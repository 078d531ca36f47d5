//! What a run records: `metrics.jsonl`, one object a line, and the same scalars as TensorBoard events.

use crate::checkpoint::write_whole;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use syntaxdot_summary::SummaryWriter;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A training step.
    Step {
        /// Steps since the beginning, the first is 1.
        step: u64,
        /// Epoch, 0-based.
        epoch: u64,
        /// Learning rate.
        lr: f64,
        /// `contrastive + alpha * ddm`.
        loss: f64,
        /// Sum of the InfoNCE terms.
        contrastive: f64,
        /// Sum of the DDM terms.
        ddm: f64,
        /// Retrieval accuracy of the first weak view, percent.
        acc1: f64,
        /// Images of the batch over the step's time, waiting included.
        images_per_s: f64,
        /// Seconds that the step waited for its batch.
        data_wait_s: f64,
    },
    /// A k-NN evaluation.
    Knn {
        /// Steps taken before it.
        step: u64,
        /// Epochs finished before it.
        epoch: u64,
        /// Accuracy, percent.
        top1: f64,
        /// Accuracy among the five best classes, percent.
        top5: f64,
    },
}

impl Record {
    fn step(&self) -> u64 {
        match self {
            Self::Step { step, .. } | Self::Knn { step, .. } => *step,
        }
    }
}

/// Writes both forms.
pub struct Metrics {
    lines: BufWriter<File>,
    events: SummaryWriter<File>,
}

impl Metrics {
    /// Opens the records of a run folder. Lines later than `step` are dropped: a resumed run writes them again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            // A line that was cut off by a crash does not parse and goes too.
            let kept = text
                .lines()
                .filter(|line| serde_json::from_str::<Record>(line).is_ok_and(|record| record.step() <= step));
            let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
            write_whole(&path, kept.as_bytes())?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let folder = run.join("tensorboard");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Unbuffered, so that TensorBoard sees a step when it is done.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
        let path = folder.join(format!("events.out.tfevents.{now}"));
        let events = File::create(&path).and_then(SummaryWriter::new).with_context(|| path.display().to_string())?;
        Ok(Self { lines: BufWriter::new(file), events })
    }

    /// Records one object.
    ///
    /// # Errors
    /// The disk is full or the folder gone.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        serde_json::to_writer(&mut self.lines, record)?;
        self.lines.write_all(b"\n")?;
        self.lines.flush().context("metrics.jsonl")?;
        let step = record.step() as i64;
        let scalars: Vec<(&str, f64)> = match *record {
            Record::Step { lr, loss, contrastive, ddm, acc1, images_per_s, data_wait_s, .. } => vec![
                ("train/lr", lr),
                ("train/loss", loss),
                ("train/contrastive", contrastive),
                ("train/ddm", ddm),
                ("train/acc1", acc1),
                ("train/images_per_s", images_per_s),
                ("train/data_wait_s", data_wait_s),
            ],
            Record::Knn { top1, top5, .. } => vec![("knn/top1", top1), ("knn/top5", top5)],
        };
        for (tag, value) in scalars {
            self.events.write_scalar(tag, step, value as f32).context("TensorBoard events")?;
        }
        Ok(())
    }
}
