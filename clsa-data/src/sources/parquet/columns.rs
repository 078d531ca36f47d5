//! Columns of a parquet file, read a row group at a time.

use std::io::{BufReader, Read, Seek, SeekFrom};

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use super::pages::{self, CheckedPages};
use crate::object::{Object, Reader};

/// A file that several threads read at once: it is opened anew for each read, because the handles that `File` gives
/// for one share its position.
#[derive(Clone)]
pub(super) struct SharedFile {
    pub object: Object,
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.object.len()
    }
}

impl ChunkReader for SharedFile {
    type T = BufReader<Reader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let mut reader = self.object.reader()?;
        reader.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // The memory for them is taken before the file is read.
        if start.checked_add(length as u64).is_none_or(|end| end > self.object.len()) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not in the file")));
        }
        let mut reader = self.object.reader()?;
        reader.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Runs a part of the parquet reader; a panic inside it, which some damaged files cause, becomes a reason.
pub(super) fn guarded<R>(work: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    crate::guard::guarded(work).unwrap_or_else(|| Err("is damaged: the reader panicked".into()))
}

/// A file and its reader.
pub(super) struct Table {
    pub file: SharedFile,
    pub reader: SerializedFileReader<SharedFile>,
}

impl Table {
    fn column_reader(&self, group: usize, column: usize) -> Result<ColumnReader, String> {
        let description = self.reader.metadata().file_metadata().schema_descr().column(column);
        let metadata = self.reader.metadata().row_group(group);
        let (start, length) = metadata.column(column).byte_range();
        self.file.object.fetch_ahead(start..start.saturating_add(length));
        pages::check(&self.file, metadata.column(column))
            .map_err(|reason| format!("row group {group} cannot be read: {reason}"))?;
        let pages = self.reader.get_row_group(group).and_then(|group| group.get_column_page_reader(column));
        let pages = pages.map_err(|error| format!("row group {group} cannot be read: {error}"))?;
        let pages =
            CheckedPages::new(pages, description.max_def_level() > 0, u64::try_from(metadata.num_rows()).unwrap_or(0));
        Ok(get_column_reader(description, Box::new(pages)))
    }
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
    table: &Table,
    group: usize,
    column: usize,
    rows: usize,
) -> Result<Vec<Option<ByteArray>>, String> {
    let full = table.reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let ColumnReader::ByteArrayColumnReader(mut typed) = table.column_reader(group, column)? else {
        return Err("the column of images does not hold bytes".into());
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

/// The labels of all rows of a row group, -1 where a row has none; an error is a reason.
pub(super) fn read_labels(table: &Table, group: usize, column: usize, rows: usize) -> Result<Vec<i64>, String> {
    let full = table.reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
    let failed = |error| format!("row group {group} cannot be read: {error}");
    let (mut values, mut levels) = (Vec::<i64>::new(), Vec::new());
    match table.column_reader(group, column)? {
        ColumnReader::Int64ColumnReader(mut typed) => {
            while typed.read_records(rows, Some(&mut levels), None, &mut values).map_err(failed)?.0 > 0 {}
        }
        ColumnReader::Int32ColumnReader(mut typed) => {
            let mut narrow = Vec::new();
            while typed.read_records(rows, Some(&mut levels), None, &mut narrow).map_err(failed)?.0 > 0 {}
            values.extend(narrow.into_iter().map(i64::from));
        }
        ColumnReader::BoolColumnReader(mut typed) => {
            let mut flags = Vec::new();
            while typed.read_records(rows, Some(&mut levels), None, &mut flags).map_err(failed)?.0 > 0 {}
            values.extend(flags.into_iter().map(i64::from));
        }
        _ => return Err("the column of labels does not hold whole numbers".into()),
    }
    let labels: Vec<i64> = spread(values, &levels, full).into_iter().map(|label| label.unwrap_or(-1)).collect();
    if labels.len() == rows {
        Ok(labels)
    } else {
        Err(format!("row group {group} has {} labels for {rows} rows", labels.len()))
    }
}
