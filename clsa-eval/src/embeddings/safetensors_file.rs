//! Safetensors: one tensor. The header is written here, because the values come one block after the other, where the crate
//! `safetensors` wants all of them at once.

use super::table::{Embeddings, Output};
use crate::EvalError;
use crate::features::whole_words;
use clsa_files::WholeFile;
use serde_json::json;
use std::io::Write;

/// Writes the array, which has no name yet.
pub(super) fn write(embeddings: &Embeddings, output: &Output) -> Result<WholeFile, EvalError> {
    let (rows, dim) = (embeddings.rows.len(), embeddings.rows.dim());
    let offsets = [0, 4 * rows * dim];
    let header = json!({ "features": { "dtype": "F32", "shape": [rows, dim], "data_offsets": offsets } });
    let mut file = output.create()?;
    file.write_all(&whole_words(&header)).map_err(output.failed())?;
    embeddings.write_values(&mut file, output)?;
    Ok(file)
}
