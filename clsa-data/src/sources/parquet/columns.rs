//! Columns of a parquet file, read a row group at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

/// A file that several threads read at once: it is opened anew for each read, because the handles that `File` gives
/// for one share its position.
pub(super) struct SharedFile {
    pub path: PathBuf,
    pub len: u64,
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for SharedFile {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        File::open(&self.path)?.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        File::open(&self.path)?.get_bytes(start, length)
    }
}

/// Runs a part of the parquet reader; a panic inside it, which some damaged files cause, becomes a reason.
pub(super) fn guarded<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("is damaged: the reader panicked".into()))
}

/// The column of a file with this path; an error is a reason.
pub(super) fn column(reader: &SerializedFileReader<SharedFile>, path: &str) -> Result<usize, String> {
    let schema = reader.metadata().file_metadata().schema_descr();
    schema.columns().iter().position(|column| column.path().string() == path).ok_or_else(|| {
        let has: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        format!("has no column `{path}`, only {}", has.join(", "))
    })
}

fn column_reader(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
) -> Result<ColumnReader, String> {
    reader
        .get_row_group(group)
        .and_then(|group| group.get_column_reader(column))
        .map_err(|error| format!("row group {group} cannot be read: {error}"))
}

/// Values of a column with nulls put back where the definition levels say so.
fn spread<V: Clone>(values: Vec<V>, levels: &[i16], full: i16) -> Vec<Option<V>> {
    if full == 0 {
        return values.into_iter().map(Some).collect();
    }
    let mut values = values.into_iter();
    levels.iter().map(|&level| if level == full { values.next() } else { None }).collect()
}

/// The bytes of all images of a row group of `rows` rows; an error is a reason.
pub(super) fn read_images(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
    rows: usize,
) -> Result<Vec<Option<ByteArray>>, String> {
    let full = reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let ColumnReader::ByteArrayColumnReader(mut typed) = column_reader(reader, group, column)? else {
        return Err("column `image.bytes` does not hold bytes".into());
    };
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while typed
        .read_records(rows, Some(&mut levels), None, &mut values)
        .map_err(|error| format!("row group {group} cannot be read: {error}"))?
        .0
        > 0
    {}
    Ok(spread(values, &levels, full))
}

/// The labels of all rows of a row group; an error is a reason.
pub(super) fn read_labels(
    reader: &SerializedFileReader<SharedFile>,
    group: usize,
    column: usize,
    rows: usize,
) -> Result<Vec<i64>, String> {
    let full = reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let failed = |error| format!("row group {group} cannot be read: {error}");
    let (mut values, mut levels) = (Vec::<i64>::new(), Vec::new());
    match column_reader(reader, group, column)? {
        ColumnReader::Int64ColumnReader(mut typed) => {
            while typed.read_records(rows, Some(&mut levels), None, &mut values).map_err(failed)?.0 > 0 {}
        }
        ColumnReader::Int32ColumnReader(mut typed) => {
            let mut narrow = Vec::new();
            while typed.read_records(rows, Some(&mut levels), None, &mut narrow).map_err(failed)?.0 > 0 {}
            values.extend(narrow.into_iter().map(i64::from));
        }
        _ => return Err("column `label` does not hold whole numbers".into()),
    }
    let labels: Option<Vec<i64>> = spread(values, &levels, full).into_iter().collect();
    labels.filter(|labels| labels.len() == rows).ok_or(format!("row group {group} has rows without a label"))
}

/// Names of the classes from the metadata that the `datasets` library writes; empty without it.
pub(super) fn class_names(reader: &SerializedFileReader<SharedFile>) -> Vec<String> {
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let text = metadata.and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface")?.value.clone());
    text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        .and_then(|value| value.pointer("/info/features/label/names")?.as_array().cloned())
        .map(|names| names.iter().filter_map(|name| Some(name.as_str()?.to_string())).collect())
        .unwrap_or_default()
}
