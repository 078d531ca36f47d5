//! Names and labels in text files beside an array that has no place for them: a line for each row.

use super::table::{Embeddings, Output};
use crate::EvalError;
use clsa_files::WholeFile;
use std::io::{BufWriter, Write};

pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<(), EvalError> {
    lines("names.txt", embeddings, output, |index| embeddings.images.name(index))?;
    if embeddings.has_labels() {
        lines("labels.txt", embeddings, output, |index| embeddings.label(index).unwrap_or_default())?;
    }
    Ok(())
}

fn lines(
    extension: &str,
    embeddings: &Embeddings,
    output: &Output,
    text: impl Fn(usize) -> String,
) -> Result<(), EvalError> {
    let path = output.path.with_extension(extension);
    let failed = |source| EvalError::Io { path: path.clone(), source };
    let mut file = BufWriter::new(WholeFile::create(&path).map_err(failed)?);
    for index in 0..embeddings.images.len() {
        // A name may hold a line break, which would shift all rows behind it.
        let line = text(index).replace('\n', "\\n").replace('\r', "\\r");
        writeln!(file, "{line}").map_err(failed)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))?.commit().map_err(failed)
}
