//! `list:FILE.csv`: a table of image files, each with its label.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord};

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::image_files::ImageFiles;
use crate::label::Labels;
use crate::listing::{Listing, is_image};
use crate::object::Opener;
use crate::pattern::files;
use crate::printable::{printable, printable_path};
use crate::split::Split;
use crate::text::read_text;

pub(super) static SPEC: Spec = Spec {
    name: "list",
    argument: Argument::Place("FILE.csv"),
    summary: "a table of image files",
    details: "a line for each, `path` or `path,label`, or with other columns where the first line names `path` and `label`; tabs \
              separate in a `.tsv`; a path is relative to the table; `{split}` in the name of the table stands for `train`, \
              `val` or `test`",
    feature: None,
    open: Some(|pattern, split, limits| Ok(Arc::new(open(pattern, split, limits)?))),
};

/// Most bytes of a table: some millions of lines.
const MAX_TABLE: u64 = 512 << 20;

/// What the column of paths may be called, in lower case.
const PATH_COLUMNS: [&str; 7] = ["path", "image", "image_path", "file", "filename", "file_name", "filepath"];
/// What the column of labels may be called.
const LABEL_COLUMNS: [&str; 5] = ["label", "class", "class_name", "category", "target"];

/// What a table says.
#[derive(Debug, Default, PartialEq)]
pub struct Table {
    /// Its images, in order.
    pub rows: Vec<Row>,
    /// The names of the columns, where none of several is one of labels.
    unlabeled: Option<String>,
}

/// An image of a table.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// Line that it begins in, 1-based.
    pub line: u64,
    /// As it is written.
    pub path: String,
    /// None where the table has no labels.
    pub label: Option<String>,
}

fn open(pattern: &str, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    let tables = tables(pattern, split)?;
    let root = folder(&tables[0].0).to_owned();
    let mut listing = Listing::new(&root);
    for (table, Table { rows, .. }) in &tables {
        for row in rows {
            if folder(table) == root {
                listing.push(&row.path)?;
            } else {
                let path = std::path::absolute(folder(table).join(&row.path)).map_err(DataError::read(table))?;
                listing.push(path)?;
            }
        }
    }
    let classes = match split {
        Split::Train => classes(&tables),
        // Numbers of classes are those of the training images.
        Split::Test => classes(&self::tables(pattern, Split::Train)?),
    };
    let labels = labels(&tables, &classes)?;
    let unlabeled = tables.iter().find_map(|(_, table)| table.unlabeled.as_ref());
    let note = unlabeled.map(|columns| {
        format!("without labels, because no column is called `label`; there are {}", printable(columns))
    });
    Ok(ImageFiles { listing, classes, labels, notes: note.into_iter().collect(), limits })
}

/// The tables of a split.
fn tables(pattern: &str, split: Split) -> Result<Vec<(PathBuf, Table)>, DataError> {
    let mut tables = Vec::new();
    for path in files(pattern, "csv", split, &Opener::default())? {
        let delimiter = if path.extension().is_some_and(|ending| ending == "tsv") { b'\t' } else { b',' };
        let text = read_text(&path, MAX_TABLE)?;
        let table = parse(&text, delimiter).map_err(|reason| Fault::Damaged.at(&path, reason))?;
        if table.rows.is_empty() {
            return Err(Fault::Empty.at(path, "names no image"));
        }
        tables.push((path, table));
    }
    let has_labels = |(_, table): &(PathBuf, Table)| table.rows[0].label.is_some();
    match tables.iter().find(|table| has_labels(table) != has_labels(&tables[0])) {
        Some((table, _)) => {
            let other = printable_path(&tables[0].0);
            Err(Fault::Labels.at(table, format!("of this table and {other} only one has labels; let both have them")))
        }
        None => Ok(tables),
    }
}

/// The folder that a table's paths are relative to.
fn folder(table: &Path) -> &Path {
    table.parent().unwrap_or(Path::new(""))
}

/// Reads a table. An error is a reason.
pub fn parse(text: &str, delimiter: u8) -> Result<Table, String> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes());
    let mut columns = None;
    let mut has_header = false;
    let mut table = Table::default();
    let mut last = (false, 0);
    for record in reader.records() {
        let record = record.map_err(|error| format!("is no table ({error})"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let Columns { path, label, count } = match &columns {
            Some(columns) => columns,
            None => {
                let (found, is_header) = Columns::of(&record, line, delimiter)?;
                let found = columns.insert(found);
                has_header = is_header;
                if is_header {
                    table.unlabeled = (found.count > 1 && found.label.is_none()).then(|| names(&record));
                    continue;
                }
                found
            }
        };
        if record.len() != *count {
            return Err(format!("line {line} has {} columns, where the first has {count}", record.len()));
        }
        let has_break = |column: usize| record[column].contains(['\n', '\r']);
        if has_break(*path) || label.is_some_and(has_break) {
            return Err(not_closed(line));
        }
        last = ((0..*count).any(has_break), line);
        let field = |column: usize| record[column].trim().to_owned();
        let row = Row { line, path: field(*path), label: label.map(field) };
        if row.path.is_empty() {
            return Err(format!("line {line} names no image"));
        }
        if row.label.as_ref().is_some_and(String::is_empty) {
            return Err(format!("line {line} has no label, where others have one; leave the column out or fill it"));
        }
        if let ([first], false) = (&table.rows[..], has_header)
            && !is_image(&first.path)
            && is_image(&row.path)
        {
            let Row { line, path, .. } = first;
            return Err(format!(
                "line {line} names `{path}`, which is no image as the next one is; if it names the columns, call the one \
                 of images `path`"
            ));
        }
        table.rows.push(row);
    }
    // A mark that is not closed takes all that follows into one field of the last row.
    match last {
        (true, line) if text.matches('"').count() % 2 == 1 => Err(not_closed(line)),
        _ => Ok(table),
    }
}

fn not_closed(line: u64) -> String {
    format!("line {line} has a field that goes on in the next: is a quotation mark not closed?")
}

/// The names of columns, for messages.
fn names(header: &StringRecord) -> String {
    header.iter().map(|name| format!("`{}`", name.trim())).collect::<Vec<_>>().join(", ")
}

/// Which column is what.
struct Columns {
    path: usize,
    label: Option<usize>,
    count: usize,
}

impl Columns {
    /// By the first line, and whether that is a header.
    fn of(first: &StringRecord, line: u64, delimiter: u8) -> Result<(Self, bool), String> {
        // A line with an image is none of names, even where its class is called `image` or `label`.
        let has_image = first.iter().any(|name| is_image(name.trim()));
        let named = |names: &[&str]| {
            let position =
                first.iter().position(|name| names.iter().any(|known| name.trim().eq_ignore_ascii_case(known)));
            position.filter(|_| !has_image)
        };
        let count = first.len();
        match (named(&PATH_COLUMNS), count) {
            (Some(path), _) => Ok((Self { path, label: named(&LABEL_COLUMNS), count }, true)),
            (None, _) if named(&LABEL_COLUMNS).is_some() => {
                Err(format!("line {line} names the columns {}; call the one of images `path`", names(first)))
            }
            (None, 1) => match other_separator(&first[0], delimiter) {
                Some(other) => Err(format!(
                    "line {line} has its columns separated by {other}; separate them by commas, or by tabs in a .tsv"
                )),
                None => Ok((Self { path: 0, label: None, count }, false)),
            },
            (None, 2) => Ok((Self { path: 0, label: Some(1), count }, false)),
            (None, _) => {
                Err(format!("line {line} has {count} columns: begin with a line that names two of them path and label"))
            }
        }
    }
}

/// What separates the columns of a line that was taken for one column: the line is no image's name, and what comes before the separator
/// is one, or is what a column of paths is called.
fn other_separator(line: &str, delimiter: u8) -> Option<&'static str> {
    let is_path = |text: &str| {
        let name = text.trim().trim_matches('"');
        is_image(name) || PATH_COLUMNS.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let separators = [(';', "semicolons"), ('\t', "tabs"), (',', "commas")].into_iter();
    let mut found = separators
        .filter(|(at, _)| *at != char::from(delimiter) && line.split_once(*at).is_some_and(|(path, _)| is_path(path)));
    found.next().filter(|_| !is_path(line)).map(|(_, name)| name)
}

/// The classes of the training images: in the order of numbers where all are numbers, else in that of names. Empty where they have
/// no labels.
fn classes(tables: &[(PathBuf, Table)]) -> Vec<String> {
    let rows = tables.iter().flat_map(|(_, table)| &table.rows);
    let labels: BTreeSet<&str> = rows.filter_map(|row| row.label.as_deref()).collect();
    let mut classes: Vec<String> = labels.into_iter().map(str::to_owned).collect();
    if classes.iter().all(|label| label.parse::<u64>().is_ok()) {
        classes.sort_by_key(|label| label.parse::<u64>().unwrap_or(u64::MAX));
    }
    classes
}

fn labels(tables: &[(PathBuf, Table)], classes: &[String]) -> Result<Labels, DataError> {
    let numbers: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut labels = Vec::new();
    for (table, Table { rows, .. }) in tables {
        for row in rows {
            let Some(label) = &row.label else { continue };
            match numbers.get(label.as_str()) {
                Some(number) => labels.push(*number),
                None => {
                    let reason = format!("line {}: `{label}` is no class of the training images", row.line);
                    return Err(Fault::Labels.at(table, reason));
                }
            }
        }
    }
    Ok(if labels.is_empty() { Labels::None } else { Labels::Class(labels) })
}
