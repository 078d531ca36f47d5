//! Features of corrupted images.

use super::extract::{Crops, Extractor};
use super::pixels::{pictures_at_once, pixels, values_of};
use crate::EvalError;
use clsa_augment::rand::RngExt;
use clsa_augment::{AugmentError, Augmenter, CenterCrop, Corruption, Crop, Layout, Normalize, Op, ViewId};
use clsa_data::Dataset;
use clsa_model::Encoder;
use image::RgbImage;

/// Images whose pixels are made at a time, at most.
const BLOCK: usize = 256;

/// Some of the images of a data set under a corruption at every severity. As in CIFAR-10-C and ImageNet-C, what is corrupted is
/// the picture that the encoder is shown, cut and of its size. What is drawn for an image follows from the seed, its
/// index and the corruption alone.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_augment::Corruption;
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::features::CorruptedImages;
///
/// let source: Source = "procedural:classes=3,train=10,test=5,side=16".parse()?;
/// let images = source.open(Split::Test)?;
/// let corruption = Corruption::Fog;
/// let corrupted = CorruptedImages { dataset: images.as_ref(), indices: &[4, 0], corruption, seed: 0 };
/// let mut values = Vec::new();
/// corrupted.pixels_into(8, &mut |rows| {
///     values.extend_from_slice(rows);
///     Ok(())
/// })?;
/// assert_eq!(values.len(), 2 * Corruption::SEVERITIES.len() * 3 * 8 * 8);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
#[derive(Clone, Copy)]
pub struct CorruptedImages<'a> {
    /// The data set.
    pub dataset: &'a dyn Dataset,
    /// Indices of the images.
    pub indices: &'a [usize],
    /// The corruption.
    pub corruption: Corruption,
    /// Seed of the draws.
    pub seed: u64,
}

impl CorruptedImages<'_> {
    /// Gives `sink` the encoder's features (as [`extract`](super::extract)) of each image at each severity, in this order:
    /// the severities of the first image, then those of the second. `batch_size` counts corrupted images.
    ///
    /// # Errors
    /// An image cannot be read or transformed, the encoder or `sink` fails.
    pub fn features_into(
        &self,
        encoder: &Encoder,
        transform: &CenterCrop,
        batch_size: usize,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let write = |augmenter: &mut Augmenter, sample: usize, image: &RgbImage, out: &mut [f32]| {
            let picture = transform.image(augmenter, image)?;
            self.write(augmenter, sample, &picture, (&transform.normalize, Layout::ChannelsLast), out)
        };
        let crops = Crops { side: transform.crop, count: Corruption::SEVERITIES.len(), write: &write };
        Extractor { encoder, stage: None }.crops(self.dataset, self.indices, &crops, batch_size, sink)
    }

    /// As [`CorruptedImages::features_into`], but pixels in place of features (as [`raw_pixels`](super::raw_pixels)): of the
    /// corrupted picture of `side` x `side` pixels.
    ///
    /// # Errors
    /// An image cannot be read, `side` is out of range, or `sink` fails.
    pub fn pixels_into(
        &self,
        side: u32,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let write = |augmenter: &mut Augmenter, sample: usize, image: &RgbImage, out: &mut [f32]| {
            let crop = Crop { x: 0, y: 0, width: image.width(), height: image.height() };
            let picture = augmenter.apply(image, &[Op::CropResize { crop, width: side, height: side }])?;
            self.write(augmenter, sample, &picture, (&Normalize::IMAGENET, Layout::ChannelsFirst), out)
        };
        let picture = values_of(side)?;
        let values = Corruption::SEVERITIES.len() * picture;
        let mut blocks = self.indices.chunks(pictures_at_once(picture, BLOCK));
        blocks.try_for_each(|block| sink(&pixels(self.dataset, block, values, &write)?))
    }

    /// Writes a picture at each severity, one after the other.
    fn write(
        &self,
        augmenter: &mut Augmenter,
        sample: usize,
        picture: &RgbImage,
        (normalize, layout): (&Normalize, Layout),
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        let seed = ViewId { seed: self.seed, epoch: 0, sample: sample as u64, view: 0 }.rng().random();
        let values = out.len() / Corruption::SEVERITIES.len();
        for (severity, out) in Corruption::SEVERITIES.into_iter().zip(out.chunks_exact_mut(values)) {
            let corrupted = self.corruption.apply(picture, severity, seed)?;
            augmenter.apply_into(&corrupted, &[], normalize, layout, out)?;
        }
        Ok(())
    }
}
