//! The hash of a data set.

use crate::EvalError;
use clsa_data::Dataset;
use clsa_run::hash_names_and_labels;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Samples that are read between two reports of progress.
const BLOCK: usize = 1024;

/// SHA-256 of a split, as 64 hexadecimal digits: over the number of samples, the names of the classes, and every sample's
/// label, name (without the part that all names begin with, so that a folder may be moved) and file or pixels. All of it is
/// read, on all threads; calls `progress` with the samples that are done, and with all.
///
/// # Errors
/// A sample cannot be read.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::hashes::data_hash;
///
/// let source: Source = "procedural:classes=3,train=10,test=5,side=16".parse()?;
/// let (train, test) = (source.open(Split::Train)?, source.open(Split::Test)?);
/// assert_ne!(data_hash(train.as_ref(), &|_, _| {})?, data_hash(test.as_ref(), &|_, _| {})?);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn data_hash(dataset: &dyn Dataset, progress: &dyn Fn(u64, u64)) -> Result<String, EvalError> {
    let mut hash = Sha256::new();
    let len = dataset.len();
    hash_names_and_labels(dataset, &mut hash);
    for start in (0..len).step_by(BLOCK) {
        let end = (start + BLOCK).min(len);
        let content = |index| -> Result<_, EvalError> {
            Ok(match dataset.encoded(index)? {
                Some(encoded) => Sha256::digest(&encoded.bytes),
                None => Sha256::digest(dataset.image(index)?.as_raw()),
            })
        };
        let contents: Vec<_> = (start..end).into_par_iter().map(content).collect::<Result<_, _>>()?;
        contents.iter().for_each(|content| hash.update(content));
        progress(end as u64, len as u64);
    }
    Ok(base16ct::lower::encode_string(&hash.finalize()))
}

/// The hash of a data set from those of its splits, training images first.
pub fn joined_hash(splits: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut hash = Sha256::new();
    splits.into_iter().for_each(|split| update_text(&mut hash, split.as_ref()));
    base16ct::lower::encode_string(&hash.finalize())
}

/// A text and its length, so that two texts cannot be taken for two others.
fn update_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}
