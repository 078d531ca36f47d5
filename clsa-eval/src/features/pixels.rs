//! Images decoded and transformed on all threads.

use crate::EvalError;
use clsa_augment::{AugmentError, Augmenter, MAX_SIDE};
use clsa_data::Dataset;
use image::RgbImage;
use rayon::prelude::*;

/// Writes the numbers of the sample of this index, whose image is given.
pub(super) type Write<'a> =
    &'a (dyn Fn(&mut Augmenter, usize, &RgbImage, &mut [f32]) -> Result<(), AugmentError> + Sync);

/// Numbers of a square picture, and of how many such pictures at most `most` are made at a time: fewer where they are very large.
///
/// # Errors
/// The side is out of range.
pub(super) fn values_of(side: u32, most: usize) -> Result<(usize, usize), EvalError> {
    /// Numbers that are made at a time.
    const AT_ONCE: usize = 1 << 26;
    if !(1..=MAX_SIDE).contains(&side) {
        return Err(EvalError::setting("side", side, format!("use 1 to {MAX_SIDE} pixels")));
    }
    let values = 3 * side as usize * side as usize;
    Ok((values, (AT_ONCE / values).clamp(1, most)))
}

/// Decodes and transforms samples, each to `values` numbers.
pub(super) fn pixels(
    dataset: &dyn Dataset,
    indices: &[usize],
    values: usize,
    write: Write,
) -> Result<Vec<f32>, EvalError> {
    let mut out = vec![0.0; indices.len() * values];
    out.par_chunks_mut(values).zip(indices).try_for_each_init(Augmenter::new, |augmenter, (out, &index)| {
        let image = dataset.image(index)?;
        write(augmenter, index, &image, out)
            .map_err(|source| EvalError::Transform { sample: dataset.name(index), source })
    })?;
    Ok(out)
}
