//! A Parquet table. Its columns are written one block of rows at a time, by the crate's column writers.

use super::table::{Embeddings, Output};
use crate::EvalError;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const SCHEMA: &str = "message embeddings {
    required binary name (STRING);
    optional int32 class;
    optional binary label (STRING);
    required group embedding (LIST) { repeated group list { required float element; } }
}";

pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<(), EvalError> {
    let failed = |error: ParquetError| output.failed()(io::Error::other(error));
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
    // Features do not repeat: a dictionary of them would only cost.
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_dictionary_enabled(false).build();
    let mut file = output.create()?;
    let mut table = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).map_err(failed)?;
    for block in embeddings.blocks() {
        let end = block.end;
        let values = embeddings.rows.rows(block.clone())?;
        let mut group = table.next_row_group().map_err(failed)?;
        columns(&mut group, embeddings, block, &values).map_err(failed)?;
        group.close().map_err(failed)?;
        (output.progress)(end as u64, embeddings.rows.len() as u64);
    }
    table.close().map_err(failed)?;
    file.commit().map_err(output.failed())
}

/// Writes the columns of some rows, in the order of the schema.
fn columns<W: io::Write + Send>(
    group: &mut SerializedRowGroupWriter<W>,
    embeddings: &Embeddings,
    rows: Range<usize>,
    values: &[f32],
) -> Result<(), ParquetError> {
    let images = embeddings.images;
    let text = |text: String| ByteArray::from(text.into_bytes());
    // Whether there is a value: its definition level is 1 where there is, 0 where there is none.
    let levels = |there: &mut dyn Iterator<Item = bool>| -> Vec<i16> { there.map(i16::from).collect() };

    let names: Vec<ByteArray> = rows.clone().map(|index| text(images.name(index))).collect();
    let mut column = next(group)?;
    column.typed::<ByteArrayType>().write_batch(&names, None, None)?;
    column.close()?;

    let classes: Vec<Option<i32>> =
        rows.clone().map(|index| images.label(index).class().map(|class| class as i32)).collect();
    let there = levels(&mut classes.iter().map(Option::is_some));
    let classes: Vec<i32> = classes.into_iter().flatten().collect();
    let mut column = next(group)?;
    column.typed::<Int32Type>().write_batch(&classes, Some(&there), None)?;
    column.close()?;

    let labels: Vec<Option<String>> = rows.clone().map(|index| embeddings.label(index)).collect();
    let there = levels(&mut labels.iter().map(Option::is_some));
    let labels: Vec<ByteArray> = labels.into_iter().flatten().map(text).collect();
    let mut column = next(group)?;
    column.typed::<ByteArrayType>().write_batch(&labels, Some(&there), None)?;
    column.close()?;

    // A list begins with its first element (repetition level 0); the others repeat it (1).
    let dim = embeddings.rows.dim();
    let repeats: Vec<i16> = (0..values.len()).map(|at| i16::from(at % dim != 0)).collect();
    let mut column = next(group)?;
    column.typed::<FloatType>().write_batch(values, Some(&vec![1; values.len()]), Some(&repeats))?;
    column.close()?;
    Ok(())
}

fn next<'a, W: io::Write + Send>(
    group: &'a mut SerializedRowGroupWriter<W>,
) -> Result<parquet::file::writer::SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("the schema has a further column".to_owned()))
}
