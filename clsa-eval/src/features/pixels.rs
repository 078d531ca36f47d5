//! Images decoded and transformed on all threads.

use crate::EvalError;
use clsa_augment::{AugmentError, Augmenter, MAX_SIDE};
use clsa_data::Dataset;
use image::RgbImage;
use rayon::prelude::*;

/// Writes the numbers of the sample of this index, whose image is given.
pub(super) type Write<'a> =
    &'a (dyn Fn(&mut Augmenter, usize, &RgbImage, &mut [f32]) -> Result<(), AugmentError> + Sync);

/// Numbers of a square picture.
///
/// # Errors
/// The side is out of range.
pub(super) fn values_of(side: u32) -> Result<usize, EvalError> {
    if !(1..=MAX_SIDE).contains(&side) {
        return Err(EvalError::setting("side", side, format!("use 1 to {MAX_SIDE} pixels")));
    }
    Ok(3 * side as usize * side as usize)
}

/// How many pictures of so many numbers are made at a time: `most`, or fewer where they are very large.
pub(super) fn pictures_at_once(values: usize, most: usize) -> usize {
    const VALUES: usize = 1 << 26;
    (VALUES / values).clamp(1, most)
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
