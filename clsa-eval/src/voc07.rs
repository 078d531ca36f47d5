//! Multi-label linear classification on a frozen backbone, as papers report it for PASCAL VOC 2007.

use crate::average_precision::average_precision;
use crate::choice::{best, check_choice, nothing_to_choose_by};
use crate::classifier::{Classifier, cosine};
use crate::features::{Crops, FeatureRows, extract_crops, finite_rows};
use crate::linear::check_training;
use crate::{EvalError, EvalTransform};
use candle_core::{Device, Tensor};
use clsa_augment::{AugmentError, Augmenter, Crop, Layout, Op};
use clsa_data::{Dataset, Label, Presence, order};
use clsa_model::{Encoder, SgdUpdate};
use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Crops of a test image: the corners and the centre.
pub const TEST_CROPS: usize = 5;
/// Crops of a training image: the same, and mirrored.
pub const TRAIN_CROPS: usize = 10;

/// Settings of [`voc07`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voc07Config {
    /// Passes over the training images, in each of which an image shows one of its ten crops. Default 100.
    pub epochs: u64,
    /// Learning rate of the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Of several the one is taken that
    /// has the highest mean average precision on a held-out part of the training images; then all of them are trained
    /// on. Default 0.03, 0.1, 0.3, 1, 3, 10.
    pub lr: Vec<f64>,
    /// Part of the training images that is held out while the learning rate is chosen. Default 0.2.
    pub held_out: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step. Default 256.
    pub batch_size: usize,
    /// Seed of weights, order, choice of crops and the held-out part.
    pub seed: u64,
}

impl Default for Voc07Config {
    fn default() -> Self {
        Self {
            epochs: 100,
            lr: vec![0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
            held_out: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            seed: 0,
        }
    }
}

/// What [`voc07`] gives.
#[derive(Clone, Debug)]
pub struct Voc07Result {
    /// Mean over a test image's crops of the sigmoid outputs: one row for each image, one column for each class.
    pub scores: Vec<f64>,
    /// The learning rate that was used.
    pub lr: f64,
    /// Mean average precision (area) on the held-out part of the training images by learning rate, percent, 0 where
    /// training diverged; empty where there was nothing to choose.
    pub held_out: Vec<(f64, f64)>,
    /// Mean over the images of the last epoch of the cross-entropy summed over classes.
    pub train_loss: f64,
}

/// The presence of every class in each sample.
///
/// # Errors
/// A sample is not labelled so.
pub fn presences(dataset: &dyn Dataset) -> Result<Vec<Arc<[Presence]>>, EvalError> {
    let presence = |index: usize| match dataset.label(index) {
        Label::Multi(presence) => Ok(presence),
        Label::None | Label::Class(_) => Err(EvalError::NotMultiLabel { sample: dataset.name(index) }),
    };
    (0..dataset.len()).map(presence).collect()
}

/// Checks two splits by their labels alone.
///
/// # Errors
/// No class is present in a training image, or one in a test image that is in none of them.
pub fn check_presences(train: &[Arc<[Presence]>], test: &[Arc<[Presence]>], names: &[String]) -> Result<(), EvalError> {
    let present = |labels: &[Arc<[Presence]>], class: usize| labels.iter().any(|l| l[class] == Presence::Present);
    match (0..names.len()).find(|&class| present(test, class) && !present(train, class)) {
        Some(class) => Err(EvalError::UnknownClass { class: class as u32, name: Some(names[class].clone()) }),
        None if (0..names.len()).any(|class| present(test, class)) => Ok(()),
        None => Err(EvalError::Empty("positive test")),
    }
}

/// Gives `sink` the features of `crops` crops of each sample, [`TRAIN_CROPS`] or [`TEST_CROPS`]: of the image resized as
/// `transform` says the four corners and the centre of its crop's size, then all of them mirrored (torchvision's `FiveCrop`
/// and `TenCrop`).
///
/// # Errors
/// A sample cannot be read or transformed, or the encoder fails.
pub fn extract_crops_into(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    transform: &EvalTransform,
    crops: usize,
    batch_size: usize,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let write = |augmenter: &mut Augmenter, image: &RgbImage, out: &mut [f32]| {
        write_crops(augmenter, image, transform, crops, out)
    };
    let crops = Crops { side: transform.crop, count: crops, write: &write };
    let indices: Vec<usize> = (0..dataset.len()).collect();
    extract_crops(encoder, dataset, &indices, &crops, batch_size, sink)
}

fn write_crops(
    augmenter: &mut Augmenter,
    image: &RgbImage,
    transform: &EvalTransform,
    crops: usize,
    out: &mut [f32],
) -> Result<(), AugmentError> {
    let [resize, center] = transform.ops(image.width(), image.height())?;
    let resized = augmenter.apply(image, &[resize])?;
    let side = transform.crop;
    let (right, bottom) = (resized.width() - side, resized.height() - side);
    let corner =
        |x: u32, y: u32| Op::CropResize { crop: Crop { x, y, width: side, height: side }, width: side, height: side };
    let five = [corner(0, 0), corner(right, 0), corner(0, bottom), corner(right, bottom), center];
    for (at, out) in out.chunks_exact_mut(transform.values()).take(crops).enumerate() {
        let ops = [five[at % TEST_CROPS], if at < TEST_CROPS { Op::Identity } else { Op::FlipHorizontal }];
        augmenter.apply_into(&resized, &ops, &transform.normalize, Layout::ChannelsLast, out)?;
    }
    Ok(())
}

/// Trains a linear classifier with one sigmoid output for each class by binary cross-entropy, initialised N(0, 0.01) and
/// 0, on the crops' features of the training images, and applies it to those of the test images. `train` has
/// [`TRAIN_CROPS`] rows for each image and `test` [`TEST_CROPS`], as [`extract_crops_into`] gives them. Classes that an
/// image shows only as difficult objects count nothing in it. `progress` is told after each epoch how many are done, and
/// how many there are in all trainings.
///
/// # Errors
/// Sizes do not fit, a feature or the loss is not finite, or a setting is out of range.
pub fn voc07(
    train: &dyn FeatureRows,
    train_labels: &[Arc<[Presence]>],
    test: &dyn FeatureRows,
    config: &Voc07Config,
    progress: &dyn Fn(u64, u64),
) -> Result<Voc07Result, EvalError> {
    check_settings(config)?;
    let images = train_labels.len();
    if images == 0 || test.len() == 0 {
        return Err(EvalError::Empty(if images == 0 { "training" } else { "test" }));
    }
    let expected = images * TRAIN_CROPS;
    if train.len() != expected {
        return Err(EvalError::Size { what: "the features of the training crops", got: train.len(), expected });
    }
    let all: Vec<u32> = (0..images as u32).collect();
    let training = Training {
        rows: finite_rows("training", train, 0, train.len())?,
        dim: train.dim(),
        labels: train_labels,
        config,
        progress,
    };
    let (lr, held_out) = match config.lr[..] {
        [only] => (only, Vec::new()),
        _ => training.choose()?,
    };
    let Some((classifier, train_loss)) = training.train(&all, lr, held_out.len())? else {
        return Err(EvalError::Diverged { lr, epoch: config.epochs - 1 });
    };
    let scores = mean_outputs(&classifier, &finite_rows("test", test, 0, test.len())?, test.dim(), TEST_CROPS)?;
    Ok(Voc07Result { scores, lr, held_out, train_loss })
}

fn check_settings(config: &Voc07Config) -> Result<(), EvalError> {
    check_training(config.epochs, config.batch_size)?;
    check_choice("lr", &config.lr, config.held_out)
}

/// Mean over each image's crops of the sigmoid outputs.
fn mean_outputs(classifier: &Classifier, rows: &[f32], dim: usize, crops: usize) -> Result<Vec<f64>, EvalError> {
    let rows = Tensor::from_slice(rows, (rows.len() / dim, dim), &Device::Cpu)?;
    let logits = classifier.scores(&rows)?;
    let classes = logits.len() / rows.dim(0)?;
    let mean = |image: &[f64], class: usize| {
        let outputs = image.chunks_exact(classes).map(|crop| 1.0 / (1.0 + (-crop[class]).exp()));
        outputs.sum::<f64>() / crops as f64
    };
    let images = logits.chunks_exact(crops * classes);
    Ok(images.flat_map(|image| (0..classes).map(move |class| mean(image, class))).collect())
}

struct Training<'a> {
    /// Ten for each image.
    rows: Vec<f32>,
    dim: usize,
    labels: &'a [Arc<[Presence]>],
    config: &'a Voc07Config,
    progress: &'a dyn Fn(u64, u64),
}

impl Training<'_> {
    /// Trains with each learning rate on a part of the training images and takes the best on the others.
    fn choose(&self) -> Result<(f64, Vec<(f64, f64)>), EvalError> {
        let config = self.config;
        let order = order::shuffled(config.seed, u64::MAX, self.labels.len() as u32);
        let count = (self.labels.len() as f64 * config.held_out).round() as usize;
        let (held_out, fitted) = order.split_at(count);
        if held_out.is_empty() || fitted.is_empty() {
            return Err(nothing_to_choose_by("lr", &config.lr));
        }
        // Held-out images are classified as test images are, by their five crops that are not mirrored.
        let rows: Vec<f32> = held_out.iter().flat_map(|&i| self.crops(i).take(TEST_CROPS)).flatten().copied().collect();
        let mut tried = Vec::new();
        for &lr in &config.lr {
            let precision = match self.train(fitted, lr, tried.len())? {
                Some((classifier, _)) => {
                    let scores = mean_outputs(&classifier, &rows, self.dim, TEST_CROPS)?;
                    100.0 * self.mean_average_precision(held_out, &scores)
                }
                None => 0.0,
            };
            tried.push((lr, precision));
        }
        Ok((best(&tried), tried))
    }

    fn mean_average_precision(&self, images: &[u32], scores: &[f64]) -> f64 {
        let classes = self.labels[0].len();
        let areas: Vec<f64> = (0..classes)
            .filter_map(|class| {
                let scored = images.iter().enumerate().filter_map(|(row, &image)| {
                    let presence = self.labels[image as usize][class];
                    (presence != Presence::Difficult)
                        .then(|| (scores[row * classes + class], presence == Presence::Present))
                });
                Some(average_precision(&scored.collect::<Vec<_>>())?.area)
            })
            .collect();
        areas.iter().sum::<f64>() / areas.len().max(1) as f64
    }

    /// The feature vectors of an image's crops.
    fn crops(&self, image: u32) -> impl Iterator<Item = &[f32]> {
        let values = TRAIN_CROPS * self.dim;
        self.rows[image as usize * values..][..values].chunks_exact(self.dim)
    }

    /// A classifier trained on some of the images, and its loss in the last epoch; none if that was not finite. There
    /// were `before` such trainings.
    fn train(&self, images: &[u32], lr: f64, before: usize) -> Result<Option<(Classifier, f64)>, EvalError> {
        let config = self.config;
        let trainings = if config.lr.len() == 1 { 1 } else { config.lr.len() as u64 + 1 };
        let classifier = Classifier::new(self.labels[0].len(), self.dim, config.seed, &Device::Cpu)?;
        let mut train_loss = 0.0;
        for epoch in 0..config.epochs {
            let lr = cosine(lr, epoch, config.epochs);
            let sgd = SgdUpdate { lr, momentum: config.momentum, weight_decay: config.weight_decay };
            let order = order::shuffled(config.seed, epoch, images.len() as u32);
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(config.seed ^ (epoch << 32));
            let mut sum = 0.0;
            for batch in order.chunks(config.batch_size) {
                let batch: Vec<u32> = batch.iter().map(|&at| images[at as usize]).collect();
                let mut rows = Vec::with_capacity(batch.len() * self.dim);
                for &image in &batch {
                    let crop = rng.random_range(0..TRAIN_CROPS);
                    rows.extend_from_slice(self.crops(image).nth(crop).expect("ten crops"));
                }
                let features = Tensor::from_vec(rows, (batch.len(), self.dim), &Device::Cpu)?;
                let labels: Vec<&[Presence]> = batch.iter().map(|&image| &*self.labels[image as usize]).collect();
                let loss = classifier.binary_cross_entropy(&features, &labels)?;
                if !loss.value.is_finite() {
                    return Ok(None);
                }
                classifier.update(&features, &loss, &sgd)?;
                sum += loss.value * batch.len() as f64;
            }
            train_loss = sum / images.len() as f64;
            (self.progress)(before as u64 * config.epochs + epoch + 1, trainings * config.epochs);
        }
        Ok(Some((classifier, train_loss)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::imageops::{crop_imm, flip_horizontal};

    #[test]
    fn ten_crops_are_corners_and_centre_and_the_same_mirrored() {
        let image = RgbImage::from_fn(60, 40, |x, y| image::Rgb([4 * x as u8, 6 * y as u8, (x * y) as u8]));
        let transform = EvalTransform::new(20, 16);
        let mut augmenter = Augmenter::new();
        let mut out = vec![0.0; TRAIN_CROPS * transform.values()];
        write_crops(&mut augmenter, &image, &transform, TRAIN_CROPS, &mut out).unwrap();
        let [resize, _] = transform.ops(60, 40).unwrap();
        let resized = augmenter.apply(&image, &[resize]).unwrap();
        assert_eq!(resized.dimensions(), (30, 20));
        let five = [(0, 0), (14, 0), (0, 4), (14, 4), (7, 2)].map(|(x, y)| crop_imm(&resized, x, y, 16, 16).to_image());
        let mirrored = five.each_ref().map(flip_horizontal);
        for (at, (crop, out)) in five.iter().chain(&mirrored).zip(out.chunks_exact(transform.values())).enumerate() {
            let mut wanted = vec![0.0; transform.values()];
            augmenter.apply_into(crop, &[], &transform.normalize, Layout::ChannelsLast, &mut wanted).unwrap();
            assert!(out == wanted, "crop {at}");
        }
    }
}
