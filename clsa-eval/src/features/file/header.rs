//! The header of a file of features, as safetensors has it.

use crate::features::rows::FeatureShape;
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Value, json};

/// Version of the file's form.
const FORMAT: &str = "clsa-features-1";

/// The hash that a header gives for the values, if these are one tensor of this shape of what `of` says.
pub fn hash_of_values<'a>(header: &'a Metadata, of: &str, shape: FeatureShape) -> Option<&'a str> {
    let FeatureShape { rows, dim, .. } = shape;
    let texts = header.metadata().as_ref()?;
    let features = header.info("features")?;
    let is_asked_for = texts.get("format").is_some_and(|format| format == FORMAT)
        && texts.get("of").is_some_and(|named| named == of)
        && header.tensors().len() == 1
        && features.dtype == Dtype::F32
        && features.shape == [rows, dim]
        && features.data_offsets == (0, 4 * rows * dim);
    texts.get("sha256").map(String::as_str).filter(|_| is_asked_for)
}

/// Whether these bytes are the header of such features, whatever hash it gives for the values.
pub fn is_header_of(bytes: &[u8], of: &str, shape: FeatureShape) -> bool {
    let header = bytes.get(8..).and_then(|json| serde_json::from_slice::<Metadata>(json).ok());
    let hash = header.as_ref().and_then(|header| hash_of_values(header, of, shape));
    hash.is_some_and(|hash| bytes == header_bytes(of, shape, hash))
}

/// The header of features of what `of` says, with this hash of the values.
pub fn header_bytes(of: &str, shape: FeatureShape, sha256: &str) -> Vec<u8> {
    let FeatureShape { rows, dim, .. } = shape;
    whole_words(&json!({
        "__metadata__": { "format": FORMAT, "of": of, "sha256": sha256 },
        "features": { "dtype": "F32", "shape": [rows, dim], "data_offsets": [0, 4 * rows * dim] },
    }))
}

/// A header as safetensors has it: its length, then JSON, filled up to whole words.
pub(crate) fn whole_words(header: &Value) -> Vec<u8> {
    let mut json = header.to_string();
    json += &" ".repeat(json.len().next_multiple_of(8) - json.len());
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}
