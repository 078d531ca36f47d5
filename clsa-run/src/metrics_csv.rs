//! The records of a run as a table, for spreadsheets and data frames.

use crate::metrics::{MetricsError, Record, Scalars};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

/// The columns after `step` and `epoch`, by the names that TensorBoard has.
const COLUMNS: [&str; 16] = [
    "train/lr",
    "train/loss",
    "train/contrastive",
    "train/ddm",
    "train/acc1",
    "train/images_per_s",
    "train/data_wait_s",
    "knn/top1",
    "knn/top5",
    "probe/top1",
    "probe/top5",
    "label_free/effective_rank",
    "label_free/alignment",
    "label_free/uniformity",
    "label_free/own_view_retrieval",
    "label_free/spread",
];

/// `metrics.csv`: a row for each record, whose other columns are empty. Every row is in the file when its call returns.
#[derive(Debug)]
pub(crate) struct MetricsCsv {
    path: PathBuf,
    file: File,
}

impl MetricsCsv {
    /// Writes the heading and the rows that there are so far, in the place of an earlier file.
    pub fn begin(path: PathBuf, records: impl Iterator<Item = Record>) -> Result<Self, MetricsError> {
        let heading = format!("step,epoch,{}\n", COLUMNS.join(","));
        let rows: String = records.filter_map(|record| row(&record)).collect();
        clsa_files::write_whole(&path, (heading + &rows).as_bytes()).map_err(MetricsError::io(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(MetricsError::io(&path))?;
        Ok(Self { path, file })
    }

    /// Writes a row.
    pub fn write(&mut self, record: &Record) -> Result<(), MetricsError> {
        let row = row(record).unwrap_or_default();
        self.file.write_all(row.as_bytes()).map_err(MetricsError::io(&self.path))
    }
}

/// A line; none of an unknown record.
fn row(record: &Record) -> Option<String> {
    let Scalars { step, epoch, values } = record.scalars()?;
    let mut row = format!("{step},{epoch}");
    for column in COLUMNS {
        row.push(',');
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == column) {
            row.push_str(&value.to_string());
        }
    }
    row.push('\n');
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_free::LabelFree;
    use crate::metrics::{AccuracyRecord, LabelFreeRecord, StepRecord};

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
        let accuracy = AccuracyRecord { step: 3, epoch: 1, top1: 41.5, top5: 90.0 };
        let records = [
            (Record::Step(step), "3,1,0.25,6.5,4,2.5,7,8,0.000000001,,,,,,,,,"),
            (Record::Knn(accuracy), "3,1,,,,,,,,41.5,90,,,,,,,"),
            (Record::Probe(accuracy), "3,1,,,,,,,,,,41.5,90,,,,,"),
            (Record::LabelFree(LabelFreeRecord { step: 3, epoch: 1, figures }), "3,1,,,,,,,,,,,,1.5,2.5,-3.5,4.5,5.5"),
        ];
        for (record, expected) in records {
            assert_eq!(row(&record).unwrap(), format!("{expected}\n"));
            let filled = expected.split(',').skip(2).filter(|field| !field.is_empty()).count();
            assert_eq!(filled, record.scalars().unwrap().values.len());
        }
        assert_eq!(row(&Record::Unknown), None);
    }
}
