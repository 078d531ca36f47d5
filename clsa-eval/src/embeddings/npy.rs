//! NumPy's `.npy` (numpy.lib.format, version 1.0): a magic word, a header that is a Python literal, the values.

use super::table::{Embeddings, Output};
use crate::EvalError;
use clsa_files::WholeFile;
use std::io::Write;

/// The values begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// Bytes of the magic word, the version and the header's length.
const PREFIX: usize = 10;

/// Writes the array, which has no name yet.
pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<WholeFile, EvalError> {
    let (rows, dim) = (embeddings.rows.len(), embeddings.rows.dim());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    let filled = (PREFIX + header.len() + 1).next_multiple_of(ALIGNMENT) - PREFIX - 1;
    header += &" ".repeat(filled - header.len());
    header.push('\n');
    let mut file = output.create()?;
    let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    file.write_all(&start).map_err(output.failed())?;
    embeddings.write_values(&mut file, output)?;
    Ok(file)
}
