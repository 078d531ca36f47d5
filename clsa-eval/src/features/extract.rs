//! Images to features by the backbone of an encoder.

use super::labels::labels;
use super::pixels::{Write, pixels, values_of};
use super::rows::Features;
use crate::EvalError;
use candle_core::{DType, Tensor};
use clsa_augment::{CenterCrop, Layout};
use clsa_data::Dataset;
use clsa_model::Encoder;
use std::sync::mpsc::sync_channel;

/// The features of the samples `indices` ([`Encoder::features`]: pooled, of the backbone's last stage if no other was set) in
/// batches of `batch_size`. Calls `progress` after each batch with the samples that are done, and with all.
///
/// # Errors
/// A sample has no class, cannot be read or transformed, or the encoder fails.
///
/// # Examples
/// ```
/// use clsa_eval::candle_core::Device;
/// use clsa_eval::clsa_augment::CenterCrop;
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
/// use clsa_eval::features::extract;
///
/// let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
/// let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu)?;
/// let source: Source = "procedural:classes=3,train=10,test=5,side=16".parse()?;
/// let images = source.open(Split::Test)?;
/// let features = extract(&encoder, images.as_ref(), &[4, 0, 2], &CenterCrop::new(16, 16), 2, &|_, _| {})?;
/// assert_eq!((features.len(), features.labels.len()), (3, 3));
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn extract(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &CenterCrop,
    batch_size: usize,
    progress: &dyn Fn(u64, u64),
) -> Result<Features, EvalError> {
    let extractor = Extractor { encoder, stage: None };
    extractor.labeled_center_crops(dataset, indices, transform, batch_size, progress)
}

/// As [`extract`], of the backbone's stage of this number, whatever stage the encoder is set to.
///
/// # Errors
/// As [`extract`], or there is no such stage.
pub fn extract_stage(
    encoder: &Encoder,
    stage: usize,
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &CenterCrop,
    batch_size: usize,
) -> Result<Features, EvalError> {
    let extractor = Extractor { encoder, stage: Some(stage) };
    extractor.labeled_center_crops(dataset, indices, transform, batch_size, &|_, _| {})
}

/// As [`extract`], of samples with or without labels: `sink` is given the features of each batch, in order.
///
/// # Errors
/// A sample cannot be read or transformed, the encoder or `sink` fails.
pub fn extract_into(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &CenterCrop,
    batch_size: usize,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    Extractor { encoder, stage: None }.center_crops(dataset, indices, transform, batch_size, sink)
}

/// An encoder, and the number of the stage whose features are taken, where it is not the one that the encoder is set to.
pub(super) struct Extractor<'a> {
    pub encoder: &'a Encoder,
    pub stage: Option<usize>,
}

/// How an image is cut: `count` squares of `side` pixels, channels last, written one after the other.
pub(super) struct Crops<'a> {
    pub side: u32,
    pub count: usize,
    pub write: Write<'a>,
}

/// Images of one pass of the encoder in protocols: 128 of up to 300 x 300 pixels, and of larger ones as many as have as many pixels.
pub(crate) fn batch_of_side(side: u32) -> usize {
    const MOST: u64 = 128;
    let pixels = u64::from(side).pow(2).max(1);
    (MOST * 300 * 300 / pixels).clamp(1, MOST) as usize
}

/// Samples of which so many crops are in one pass of the encoder, where it is to be of `batch_size` images or a few more.
pub(crate) fn images_of_pass(batch_size: usize, crops: usize) -> usize {
    batch_size.div_ceil(crops)
}

impl Extractor<'_> {
    fn labeled_center_crops(
        &self,
        dataset: &dyn Dataset,
        indices: &[usize],
        transform: &CenterCrop,
        batch_size: usize,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Features, EvalError> {
        let labels = labels(dataset, indices)?;
        let dim = match self.stage {
            Some(stage) => self.encoder.stages().get(stage).map_or(0, |stage| stage.channels),
            None => self.encoder.feature_dim(),
        };
        let mut values = Vec::with_capacity(indices.len() * dim);
        self.center_crops(dataset, indices, transform, batch_size, &mut |rows| {
            values.extend_from_slice(rows);
            progress((values.len() / dim) as u64, indices.len() as u64);
            Ok(())
        })?;
        Ok(Features { values, dim, labels })
    }

    fn center_crops(
        &self,
        dataset: &dyn Dataset,
        indices: &[usize],
        transform: &CenterCrop,
        batch_size: usize,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let crops = Crops {
            side: transform.crop,
            count: 1,
            write: &|augmenter, _, image, out| transform.write(augmenter, image, Layout::ChannelsLast, out),
        };
        self.crops(dataset, indices, &crops, batch_size, sink)
    }

    /// The features of each crop of each sample, in this order.
    pub fn crops(
        &self,
        dataset: &dyn Dataset,
        indices: &[usize],
        crops: &Crops,
        batch_size: usize,
        sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        EvalError::at_least_one("batch_size", batch_size as u64)?;
        EvalError::at_least_one("crops", crops.count as u64)?;
        let values = values_of(crops.side)?;
        let side = crops.side as usize;
        std::thread::scope(|scope| {
            // The next batch is decoded while the encoder works on this one.
            let (sender, batches) = sync_channel(1);
            scope.spawn(move || {
                for batch in indices.chunks(images_of_pass(batch_size, crops.count)) {
                    if sender.send(pixels(dataset, batch, crops.count * values, crops.write)).is_err() {
                        return;
                    }
                }
            });
            for batch in batches {
                let pixels = batch?;
                let count = pixels.len() / values;
                let images = Tensor::from_vec(pixels, (count, side, side, 3), self.encoder.device())?;
                let features = self.features(&images.permute((0, 3, 1, 2))?)?.to_dtype(DType::F32)?;
                sink(&features.flatten_all()?.to_vec1::<f32>()?)?;
            }
            Ok(())
        })
    }

    fn features(&self, images: &Tensor) -> Result<Tensor, EvalError> {
        Ok(match self.stage {
            Some(stage) => self.encoder.features_at(images, stage)?,
            None => self.encoder.features(images)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_fewer_images_where_they_are_large() {
        let batches = [0, 32, 224, 300, 448, 1024, 16384, u32::MAX].map(batch_of_side);
        assert_eq!(batches, [128, 128, 128, 128, 57, 10, 1, 1]);
    }
}
