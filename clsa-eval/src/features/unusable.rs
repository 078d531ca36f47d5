//! Which images no features can be made of.

use crate::EvalError;
use clsa_augment::{Augmenter, CenterCrop};
use clsa_data::{Dataset, SampleError};
use rayon::prelude::*;

/// The images among `indices` that cannot be decoded, or are too long to be resized, in their order, each with why.
/// `looked_at` is called after each image, by several threads.
///
/// # Errors
/// [`SampleError::Remote`]: a store that fails says nothing of an image.
pub fn unusable(
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &CenterCrop,
    looked_at: impl Fn() + Sync,
) -> Result<Vec<(usize, EvalError)>, SampleError> {
    let why = |augmenter: &mut Augmenter, index: usize| match dataset.image(index) {
        Err(error) if error.is_of_store() => Err(error),
        Err(error) => Ok(Some(error.into())),
        Ok(image) => Ok(transform
            .image(augmenter, &image)
            .err()
            .map(|source| EvalError::Transform { sample: dataset.name(index), source })),
    };
    indices
        .par_iter()
        .map_init(Augmenter::new, |augmenter, &index| {
            let why = why(augmenter, index);
            looked_at();
            Ok(why?.map(|why| (index, why)))
        })
        .filter_map(Result::transpose)
        .collect()
}
