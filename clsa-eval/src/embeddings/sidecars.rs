//! Names and labels in text files beside an array that has no place for them: a line for each row.

use super::table::{Embeddings, Output};
use crate::EvalError;
use clsa_files::WholeFile;
use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file of the names beside an array.
pub(super) fn names(path: &Path) -> PathBuf {
    path.with_extension("names.txt")
}

/// The file of the labels beside an array.
pub(super) fn labels(path: &Path) -> PathBuf {
    path.with_extension("labels.txt")
}

/// Writes the texts beside an array that is whole but for its name, and gives all of them theirs, the array last. `others` would have the same
/// texts.
pub(super) fn write(
    embeddings: &Embeddings,
    output: &Output,
    array: WholeFile,
    others: &[PathBuf],
) -> Result<(), EvalError> {
    let (names, labels) = (names(output.path), labels(output.path));
    if let Some(other) = others.iter().find(|other| other.exists())
        && names.exists()
        && !are_names(&names, embeddings)
    {
        let reason = "its names and labels would become those of other images; remove it, or name another file";
        return Err(EvalError::File { path: other.clone(), reason: reason.to_owned() });
    }
    let named = lines(&names, embeddings, |index| embeddings.images.name(index))?;
    let labeled = match embeddings.has_labels() {
        true => Some(lines(&labels, embeddings, |index| embeddings.label(index).unwrap_or_default())?),
        false => None,
    };
    // From here to the end there is no array, so that none is beside the texts of other images.
    remove(output.path)?;
    named.commit().map_err(|source| EvalError::Io { path: names, source })?;
    match labeled {
        Some(labeled) => labeled.commit().map_err(|source| EvalError::Io { path: labels, source })?,
        None => remove(&labels)?,
    }
    array.commit().map_err(output.failed())
}

/// Whether a file has the names of these images.
fn are_names(path: &Path, embeddings: &Embeddings) -> bool {
    let images = embeddings.images;
    fs::read_to_string(path)
        .is_ok_and(|text| text.lines().eq((0..images.len()).map(|index| one_line(&images.name(index)))))
}

/// A text without line breaks, which would shift all rows behind it.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}

/// Removes a file, where there is one.
fn remove(path: &Path) -> Result<(), EvalError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(EvalError::Io { path: path.to_owned(), source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file with a line for each image, which has no name yet.
fn lines(path: &Path, embeddings: &Embeddings, text: impl Fn(usize) -> String) -> Result<WholeFile, EvalError> {
    let failed = |source| EvalError::Io { path: path.to_owned(), source };
    let mut file = BufWriter::new(WholeFile::create(path).map_err(failed)?);
    for index in 0..embeddings.images.len() {
        writeln!(file, "{}", one_line(&text(index))).map_err(failed)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))
}
