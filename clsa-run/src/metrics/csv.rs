//! The records of a run as a table, for spreadsheets and data frames.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// The numbers of a record by the names that TensorBoard shows them under.
pub(crate) struct Scalars {
    pub step: u64,
    pub epoch: u64,
    pub values: Vec<(&'static str, f64)>,
}

/// The columns after `step` and `epoch`, by the names that TensorBoard has.
const COLUMNS: [&str; 19] = [
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
    "ranks/slowest_images_per_s",
    "ranks/longest_data_wait_s",
    "ranks/longest_communication_s",
];

/// Begins `metrics.csv` with the heading and the rows that there are so far, in the place of an earlier file, and opens it for those that
/// follow.
pub(crate) fn begin(path: &Path, rows: impl Iterator<Item = Scalars>) -> io::Result<File> {
    let heading = format!("step,epoch,{}\n", COLUMNS.join(","));
    let rows: String = rows.map(|scalars| row(&scalars)).collect();
    clsa_files::write_whole(path, (heading + &rows).as_bytes())?;
    OpenOptions::new().append(true).open(path)
}

/// The row of a record, whose other columns are empty.
pub(crate) fn row(Scalars { step, epoch, values }: &Scalars) -> String {
    let mut row = format!("{step},{epoch}");
    for column in COLUMNS {
        row.push(',');
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == column) {
            row.push_str(&value.to_string());
        }
    }
    row.push('\n');
    row
}
