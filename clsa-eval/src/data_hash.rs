//! What tells one data set from another without reading all of it.

use crate::EvalError;
use crate::evaluation::hex;
use clsa_data::{Dataset, Label, Presence};
use sha2::{Digest, Sha256};

/// Samples whose content is looked at.
const LOOKED_AT: usize = 256;

/// SHA-256, as 64 hexadecimal digits, over each split's number of samples, the names of the classes, every sample's label and name
/// (without the part that all names begin with, so that a folder may be moved), and the files or pixels of 256 samples that
/// lie evenly over the split. Another content under the same names in a file between those is not seen.
///
/// # Errors
/// One of those samples cannot be read.
pub fn data_hash(splits: &[&dyn Dataset]) -> Result<String, EvalError> {
    let mut hash = Sha256::new();
    splits.iter().try_for_each(|split| update(&mut hash, *split))?;
    Ok(hex(&hash.finalize()))
}

fn update(hash: &mut Sha256, dataset: &dyn Dataset) -> Result<(), EvalError> {
    let len = dataset.len();
    hash.update((len as u64).to_le_bytes());
    dataset.class_names().iter().for_each(|name| update_text(hash, name));
    let common = common_prefix(dataset);
    for index in 0..len {
        update_text(hash, &dataset.name(index)[common..]);
        match dataset.label(index) {
            Label::None => hash.update([0]),
            Label::Class(class) => hash.update(class.to_le_bytes()),
            Label::Multi(classes) => {
                let presence = |p: &Presence| match p {
                    Presence::Absent => 0,
                    Presence::Difficult => 1,
                    Presence::Present => 2,
                };
                hash.update(classes.iter().map(presence).collect::<Vec<u8>>());
            }
        }
    }
    for step in 0..len.min(LOOKED_AT) {
        let index = step * len / len.min(LOOKED_AT);
        match dataset.encoded(index)? {
            Some(encoded) => hash.update(&encoded.bytes),
            None => hash.update(dataset.image(index)?.as_raw()),
        }
    }
    Ok(())
}

/// A text and its length, so that two texts cannot be taken for two others.
fn update_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// Length of what all names begin with, up to the last folder.
fn common_prefix(dataset: &dyn Dataset) -> usize {
    let first = dataset.name(0);
    let mut common = first.rfind('/').map_or(0, |slash| slash + 1);
    for index in 1..dataset.len() {
        let name = dataset.name(index);
        while !name.starts_with(&first[..common]) {
            common = first[..common - 1].rfind('/').map_or(0, |slash| slash + 1);
        }
    }
    common
}
