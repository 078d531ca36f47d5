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

pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<(), EvalError> {
    lines(names(output.path), embeddings, |index| embeddings.images.name(index))?;
    let labels = labels(output.path);
    if embeddings.has_labels() {
        return lines(labels, embeddings, |index| embeddings.label(index).unwrap_or_default());
    }
    // Those of other images would be taken for these images'.
    match fs::remove_file(&labels) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(EvalError::Io { path: labels, source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lines(path: PathBuf, embeddings: &Embeddings, text: impl Fn(usize) -> String) -> Result<(), EvalError> {
    let failed = |source| EvalError::Io { path: path.clone(), source };
    let mut file = BufWriter::new(WholeFile::create(&path).map_err(failed)?);
    for index in 0..embeddings.images.len() {
        // A name may hold a line break, which would shift all rows behind it.
        let line = text(index).replace('\n', "\\n").replace('\r', "\\r");
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))?.commit().map_err(failed)
}
