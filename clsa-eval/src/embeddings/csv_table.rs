//! A table of comma-separated values.

use super::table::{Embeddings, Output};
use crate::EvalError;
use std::io;

pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<(), EvalError> {
    let failed = |error: csv::Error| output.failed()(io::Error::from(error));
    let (rows, dim) = (embeddings.rows.len(), embeddings.rows.dim());
    let mut table = csv::Writer::from_writer(output.create()?);
    let columns = (0..dim).map(|component| format!("f{component}"));
    table.write_record(["name".to_owned(), "label".to_owned()].into_iter().chain(columns)).map_err(failed)?;
    for block in embeddings.blocks() {
        let (start, end) = (block.start, block.end);
        let values = embeddings.rows.rows(block)?;
        for (index, row) in (start..end).zip(values.chunks_exact(dim)) {
            let texts = [embeddings.images.name(index), embeddings.label(index).unwrap_or_default()];
            // The shortest text that reads back to the same value.
            let record = texts.into_iter().chain(row.iter().map(f32::to_string));
            table.write_record(record).map_err(failed)?;
        }
        (output.progress)(end as u64, rows as u64);
    }
    let file = table.into_inner().map_err(|error| output.failed()(io::Error::other(error.to_string())))?;
    file.commit().map_err(output.failed())
}
