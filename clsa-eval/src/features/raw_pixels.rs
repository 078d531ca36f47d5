//! The baseline without an encoder: bare pixels as features.

use super::labels::labels;
use super::pixels::{pictures_at_once, pixels, values_of};
use super::rows::Features;
use crate::EvalError;
use clsa_augment::{Augmenter, Crop, Layout, Normalize, Op};
use clsa_data::Dataset;
use image::RgbImage;

/// Samples that are decoded at a time, at most.
const BLOCK: usize = 4096;

/// The pixels of the samples `indices`, each image resized (Pillow bilinear, antialiased) to `side` x `side` and
/// normalized with ImageNet's statistics: `3 · side · side` values, channels first.
///
/// # Errors
/// A sample has no class or cannot be read, or `side` is out of range.
pub fn raw_pixels(dataset: &dyn Dataset, indices: &[usize], side: u32) -> Result<Features, EvalError> {
    let labels = labels(dataset, indices)?;
    let dim = values_of(side)?;
    let mut values = Vec::new();
    raw_pixels_into(dataset, indices, side, &mut |rows| {
        values.extend_from_slice(rows);
        Ok(())
    })?;
    Ok(Features { values, dim, labels })
}

/// As [`raw_pixels`], of samples with or without labels: `sink` is given the pixels of some samples at a time, in order.
///
/// # Errors
/// A sample cannot be read, `side` is out of range, or `sink` fails.
pub fn raw_pixels_into(
    dataset: &dyn Dataset,
    indices: &[usize],
    side: u32,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let dim = values_of(side)?;
    let write = |augmenter: &mut Augmenter, _: usize, image: &RgbImage, out: &mut [f32]| {
        let crop = Crop { x: 0, y: 0, width: image.width(), height: image.height() };
        let resize = Op::CropResize { crop, width: side, height: side };
        augmenter.apply_into(image, &[resize], &Normalize::IMAGENET, Layout::ChannelsFirst, out)
    };
    let mut blocks = indices.chunks(pictures_at_once(dim, BLOCK));
    blocks.try_for_each(|block| sink(&pixels(dataset, block, dim, &write)?))
}
