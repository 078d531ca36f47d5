//! Columns of a parquet file, read a row group at a time.

use parquet::basic::Repetition;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::kept::GroupImages;
use super::labels::RowLabels;
use super::pages::{self, CheckedPages};
use super::shared_file::SharedFile;

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
    /// The reader of a column of a row group, and the bytes of its pages.
    fn column_reader(&self, group: usize, column: usize) -> Result<(ColumnReader, u64), String> {
        let description = self.reader.metadata().file_metadata().schema_descr().column(column);
        let metadata = self.reader.metadata().row_group(group);
        let (start, length) = metadata.column(column).byte_range();
        self.file.object.fetch_ahead(start..start.saturating_add(length));
        let bytes = pages::check(&self.file, metadata.column(column))
            .map_err(|reason| format!("row group {group} cannot be read: {reason}"))?;
        let pages = self.reader.get_row_group(group).and_then(|group| group.get_column_page_reader(column));
        let pages = pages.map_err(|error| format!("row group {group} cannot be read: {error}"))?;
        let is_list = description.max_rep_level() > 0;
        let stated = if is_list { metadata.column(column).num_values() } else { metadata.num_rows() };
        // An entry of a list, or an empty list, takes memory as it is stated.
        let most = u64::try_from(stated).unwrap_or(0).min(self.file.object.len());
        let levels = usize::from(description.max_def_level() > 0) + usize::from(is_list);
        let pages = CheckedPages::new(pages, levels, most);
        Ok((get_column_reader(description, Box::new(pages)), bytes))
    }
}

/// The levels of what a column has read.
#[derive(Default)]
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// How a column's levels are read: values are there where the definition level is full.
#[derive(Clone, Copy)]
struct Shape {
    full: i16,
    /// The definition level from which on a list has an entry, which may be null.
    entry: i16,
    is_list: bool,
}

impl Shape {
    fn of(table: &Table, column: usize) -> Self {
        let schema = table.reader.metadata().file_metadata().schema_descr();
        let column = schema.column(column);
        let (full, is_list) = (column.max_def_level(), column.max_rep_level() > 0);
        // An entry is there from the level of the repeated group on; what it holds may be null at several levels above.
        let (mut level, mut entry, mut node) = (0, 0, schema.root_schema());
        for part in column.path().parts() {
            let Some(child) = node.get_fields().iter().find(|child| child.name() == part) else { break };
            node = child.as_ref();
            let info = node.get_basic_info();
            let repetition = info.has_repetition().then(|| info.repetition());
            level += i16::from(repetition != Some(Repetition::REQUIRED));
            if repetition == Some(Repetition::REPEATED) {
                entry = level;
            }
        }
        Self { full, entry, is_list }
    }

    /// The values of all rows, or of all entries of their lists, with nulls put back where the definition levels say so.
    fn spread<V>(self, values: Vec<V>, levels: &Levels) -> Vec<Option<V>> {
        if self.full == 0 {
            return values.into_iter().map(Some).collect();
        }
        let least = if self.is_list { self.entry } else { 0 };
        let mut values = values.into_iter();
        let mut spread = Vec::new();
        for &level in levels.definition.iter().filter(|&&level| level >= least) {
            spread.push(if level == self.full { values.next() } else { None });
        }
        spread
    }

    /// The number of entries in each row.
    fn lengths(self, levels: &Levels) -> Vec<usize> {
        let mut lengths = Vec::new();
        for (&definition, &repetition) in levels.definition.iter().zip(&levels.repetition) {
            if repetition == 0 {
                lengths.push(0);
            }
            if let Some(last) = lengths.last_mut() {
                *last += usize::from(definition >= self.entry);
            }
        }
        lengths
    }
}

/// All values of a column of a row group, and their levels; an error is a reason.
fn read_all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    group: usize,
    rows: usize,
) -> Result<(Vec<T::T>, Levels), String> {
    let (mut values, mut levels) = (Vec::new(), Levels::default());
    let mut read = || {
        let Levels { definition, repetition } = &mut levels;
        reader.read_records(rows, Some(definition), Some(repetition), &mut values)
    };
    while read().map_err(|error| format!("row group {group} cannot be read: {error}"))?.0 > 0 {}
    Ok((values, levels))
}

/// The bytes of all images of a row group of `rows` rows; an error is a reason.
pub(super) fn read_images(table: &Table, group: usize, column: usize, rows: usize) -> Result<GroupImages, String> {
    let (ColumnReader::ByteArrayColumnReader(typed), of_pages) = table.column_reader(group, column)? else {
        return Err("the column of images does not hold bytes".into());
    };
    let (values, levels) = read_all(typed, group, rows)?;
    let rows = Shape::of(table, column).spread(values, &levels);
    // Most values are parts of their pages, which stay as a whole; some encodings give each value memory of its own.
    let of_values = rows.iter().flatten().map(|image| image.len() as u64).sum();
    let bytes = of_pages.max(of_values) + (rows.len() * size_of::<Option<ByteArray>>()) as u64;
    Ok(GroupImages { rows, bytes })
}

/// The number of images in each row of a row group, by a column that has a list of them or of texts beside them; an error is a reason.
pub(super) fn read_lengths(table: &Table, group: usize, column: usize, rows: usize) -> Result<Vec<usize>, String> {
    let (ColumnReader::ByteArrayColumnReader(typed), _) = table.column_reader(group, column)? else {
        return Err("the column of images does not hold bytes".into());
    };
    let (_, levels) = read_all(typed, group, rows)?;
    rows_of("lists of images", group, rows, Shape::of(table, column).lengths(&levels))
}

/// The labels of all rows of a row group, a list for each row: -1 where there should be one and is none. An error is a reason.
pub(super) fn read_labels(table: &Table, group: usize, column: usize, rows: usize) -> Result<RowLabels, String> {
    let (values, levels) = match table.column_reader(group, column)?.0 {
        ColumnReader::Int64ColumnReader(typed) => read_all(typed, group, rows)?,
        ColumnReader::Int32ColumnReader(typed) => whole(read_all(typed, group, rows)?),
        ColumnReader::BoolColumnReader(typed) => whole(read_all(typed, group, rows)?),
        _ => return Err("the column of labels does not hold whole numbers".into()),
    };
    let shape = Shape::of(table, column);
    let labels = shape.spread(values, &levels).into_iter().map(|label| label.unwrap_or(-1));
    if !shape.is_list {
        return Ok(RowLabels::One(rows_of("labels", group, rows, labels.collect())?));
    }
    let lengths = rows_of("lists of labels", group, rows, shape.lengths(&levels))?;
    let mut labels = labels;
    Ok(RowLabels::Lists(lengths.into_iter().map(|length| labels.by_ref().take(length).collect()).collect()))
}

fn whole<V: Into<i64>>((values, levels): (Vec<V>, Levels)) -> (Vec<i64>, Levels) {
    (values.into_iter().map(Into::into).collect(), levels)
}

/// What there is one of for each row.
fn rows_of<T>(what: &str, group: usize, rows: usize, all: Vec<T>) -> Result<Vec<T>, String> {
    if all.len() == rows { Ok(all) } else { Err(format!("row group {group} has {} {what} for {rows} rows", all.len())) }
}
