//! Images decoded and transformed on all threads.

use crate::EvalError;
use clsa_augment::{AugmentError, Augmenter};
use clsa_data::Dataset;
use image::RgbImage;
use rayon::prelude::*;

/// Writes the numbers of the sample of this index, whose image is given.
pub(super) type Write<'a> =
    &'a (dyn Fn(&mut Augmenter, usize, &RgbImage, &mut [f32]) -> Result<(), AugmentError> + Sync);

/// Decodes and transforms samples, each to `values` numbers.
pub(super) fn pixels(
    dataset: &dyn Dataset,
    indices: &[usize],
    values: usize,
    write: Write,
) -> Result<Vec<f32>, EvalError> {
    let mut out = vec![0.0; indices.len() * values];
    // A crop of no pixels is an error of the transform itself.
    out.par_chunks_mut(values.max(1)).zip(indices).try_for_each_init(Augmenter::new, |augmenter, (out, &index)| {
        let image = dataset.image(index)?;
        write(augmenter, index, &image, out)
            .map_err(|source| EvalError::Transform { sample: dataset.name(index), source })
    })?;
    Ok(out)
}
