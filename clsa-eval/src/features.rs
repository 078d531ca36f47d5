//! Images to features: by the backbone of an encoder, or by their bare pixels.

use crate::{EvalError, EvalTransform};
use candle_core::{DType, Tensor};
use clsa_augment::{AugmentError, Augmenter, Crop, Layout, Normalize, Op};
use clsa_data::Dataset;
use clsa_model::{Encoder, Stage};
use image::RgbImage;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::mpsc::sync_channel;

/// Samples whose raw pixels are decoded at a time.
const RAW_BLOCK: usize = 4096;

/// Feature vectors of labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The vectors, one after the other: `labels.len() x dim`.
    pub values: Vec<f32>,
    /// Length of a vector.
    pub dim: usize,
    /// Class of each image.
    pub labels: Vec<u32>,
}

impl Features {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The vector of an image.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// One more than the largest class number.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&class| class as usize + 1)
    }

    /// Checks what every protocol needs: samples, whole rows, finite values.
    pub(crate) fn check(&self, split: &'static str) -> Result<(), EvalError> {
        if self.is_empty() || self.dim == 0 {
            return Err(EvalError::Empty(split));
        }
        if self.values.len() != self.len() * self.dim {
            let (got, expected) = (self.values.len(), self.len() * self.dim);
            return Err(EvalError::Size { what: "the feature buffer", got, expected });
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(EvalError::NotFinite { split, row: at / self.dim }),
            None => Ok(()),
        }
    }
}

/// Feature vectors that are read in blocks: in memory ([`Features`]) or on disk ([`crate::FeatureFile`]).
#[allow(clippy::len_without_is_empty, reason = "rows of a data set, which has at least one")]
pub trait FeatureRows: Sync {
    /// Number of vectors.
    fn len(&self) -> usize;

    /// Length of a vector.
    fn dim(&self) -> usize;

    /// Some of the vectors, one after the other; `range` is within `0..len()`.
    ///
    /// # Errors
    /// A file cannot be read.
    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError>;
}

impl FeatureRows for Features {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        Ok(Cow::Borrowed(&self.values[range.start * self.dim..range.end * self.dim]))
    }
}

/// Feature vectors and the class of each.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The vectors.
    pub rows: &'a dyn FeatureRows,
    /// As many classes as there are vectors.
    pub labels: &'a [u32],
}

impl<'a> From<&'a Features> for Labelled<'a> {
    fn from(features: &'a Features) -> Self {
        Self { rows: features, labels: &features.labels }
    }
}

/// Up to `count` rows from `start` on.
///
/// # Errors
/// One of them is not of finite numbers, or a file cannot be read.
pub(crate) fn finite_rows(
    split: &'static str,
    features: &dyn FeatureRows,
    start: usize,
    count: usize,
) -> Result<Vec<f32>, EvalError> {
    let rows = features.rows(start..(start + count).min(features.len()))?.into_owned();
    match rows.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(EvalError::NotFinite { split, row: start + at / features.dim() }),
        None => Ok(rows),
    }
}

/// Checks that features of two splits can be learnt from and tested on, but for their values; gives the number of
/// classes.
pub(crate) fn check_labelled(train: Labelled, test: Labelled) -> Result<usize, EvalError> {
    for (split, part) in [("training", train), ("test", test)] {
        if part.labels.is_empty() || part.rows.dim() == 0 {
            return Err(EvalError::Empty(split));
        }
        if part.rows.len() != part.labels.len() {
            let (got, expected) = (part.rows.len(), part.labels.len());
            return Err(EvalError::Size { what: "the features", got, expected });
        }
    }
    if train.rows.dim() != test.rows.dim() {
        let (got, expected) = (test.rows.dim(), train.rows.dim());
        return Err(EvalError::Size { what: "a test feature", got, expected });
    }
    check_classes(train.labels, test.labels)
}

/// Checks that there are two training classes or more and no other test classes; gives the number of classes, one more
/// than the largest.
fn check_classes(train: &[u32], test: &[u32]) -> Result<usize, EvalError> {
    let classes = train.iter().max().map_or(0, |&class| class as usize + 1);
    let mut known = vec![false; classes];
    train.iter().for_each(|&class| known[class as usize] = true);
    if known.iter().filter(|&&known| known).count() < 2 {
        return Err(EvalError::OneClass);
    }
    match test.iter().find(|&&class| !known.get(class as usize).is_some_and(|&known| known)) {
        Some(&class) => Err(EvalError::UnknownClass { class, name: None }),
        None => Ok(classes),
    }
}

/// Checks two splits by their labels alone, before any image is read; gives the number of classes.
///
/// # Errors
/// A sample has no class, the training images are all of one class, or a test class is not among theirs.
pub fn check_labels(train: &dyn Dataset, test: &dyn Dataset) -> Result<usize, EvalError> {
    let all = |dataset: &dyn Dataset| labels(dataset, &(0..dataset.len()).collect::<Vec<_>>());
    check_classes(&all(train)?, &all(test)?).map_err(|error| match error {
        EvalError::UnknownClass { class, .. } => {
            EvalError::UnknownClass { class, name: test.class_names().get(class as usize).cloned() }
        }
        other => other,
    })
}

/// The pooled `layer4` features of the samples `indices`, by the encoder in evaluation mode, in batches of
/// `batch_size`. `progress` is told after each batch how many samples are done.
///
/// # Errors
/// A sample has no class, cannot be read or transformed, or the encoder fails.
pub fn extract(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &EvalTransform,
    batch_size: usize,
    progress: &dyn Fn(usize),
) -> Result<Features, EvalError> {
    let labels = labels(dataset, indices)?;
    let dim = encoder.config().feature_dim();
    let mut values = Vec::with_capacity(indices.len() * dim);
    extract_into(encoder, dataset, indices, transform, batch_size, &mut |rows| {
        values.extend_from_slice(rows);
        progress(values.len() / dim);
        Ok(())
    })?;
    Ok(Features { values, dim, labels })
}

/// As [`extract`], of samples with or without labels: `sink` is given the features of each batch, in order.
///
/// # Errors
/// A sample cannot be read or transformed, the encoder or `sink` fails.
pub fn extract_into(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    transform: &EvalTransform,
    batch_size: usize,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let crops = Crops {
        side: transform.crop,
        count: 1,
        write: &|augmenter, image, out| transform.write(augmenter, image, Layout::ChannelsLast, out),
    };
    extract_crops(encoder, dataset, indices, &crops, batch_size, sink)
}

/// How an image is cut: `count` squares of `side` pixels, channels last, written one after the other.
pub(crate) struct Crops<'a> {
    pub side: u32,
    pub count: usize,
    pub write: Write<'a>,
}

/// The features of each crop of each sample, in this order.
pub(crate) fn extract_crops(
    encoder: &Encoder,
    dataset: &dyn Dataset,
    indices: &[usize],
    crops: &Crops,
    batch_size: usize,
    sink: &mut dyn FnMut(&[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    if batch_size == 0 {
        return Err(EvalError::Setting { key: "batch_size", value: "0".to_owned(), expected: "use at least 1" });
    }
    let side = crops.side as usize;
    let values = 3 * side * side;
    std::thread::scope(|scope| {
        // The next batch is decoded while the encoder works on this one.
        let (sender, batches) = sync_channel(1);
        scope.spawn(move || {
            for batch in indices.chunks(batch_size.div_ceil(crops.count)) {
                if sender.send(pixels(dataset, batch, crops.count * values, crops.write)).is_err() {
                    return;
                }
            }
        });
        for batch in batches {
            let pixels = batch?;
            let count = pixels.len() / values.max(1);
            let images = Tensor::from_vec(pixels, (count, side, side, 3), encoder.device())?.permute((0, 3, 1, 2))?;
            let features = encoder.features(&images, Stage::Layer4)?;
            sink(&features.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)?;
        }
        Ok(())
    })
}

/// The baseline without an encoder: the pixels of the samples `indices`, each image resized (Pillow bilinear,
/// antialiased) to `side` x `side` and normalised with ImageNet's statistics: `3 · side · side` values.
///
/// # Errors
/// A sample has no class or cannot be read, or `side` is out of range.
pub fn raw_pixels(dataset: &dyn Dataset, indices: &[usize], side: u32) -> Result<Features, EvalError> {
    let labels = labels(dataset, indices)?;
    let mut values = Vec::new();
    raw_pixels_into(dataset, indices, side, &mut |rows| {
        values.extend_from_slice(rows);
        Ok(())
    })?;
    Ok(Features { values, dim: 3 * side as usize * side as usize, labels })
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
    let dim = 3 * side as usize * side as usize;
    let write = |augmenter: &mut Augmenter, image: &RgbImage, out: &mut [f32]| {
        let crop = Crop { x: 0, y: 0, width: image.width(), height: image.height() };
        let resize = Op::CropResize { crop, width: side, height: side };
        augmenter.apply_into(image, &[resize], &Normalize::IMAGENET, Layout::ChannelsFirst, out)
    };
    indices.chunks(RAW_BLOCK).try_for_each(|block| sink(&pixels(dataset, block, dim, &write)?))
}

/// The class of each of the samples `indices`.
///
/// # Errors
/// A sample has not exactly one class.
pub fn labels(dataset: &dyn Dataset, indices: &[usize]) -> Result<Vec<u32>, EvalError> {
    let label = |&i: &usize| dataset.label(i).class().ok_or_else(|| EvalError::NoClass { sample: dataset.name(i) });
    indices.iter().map(label).collect()
}

pub(crate) type Write<'a> = &'a (dyn Fn(&mut Augmenter, &RgbImage, &mut [f32]) -> Result<(), AugmentError> + Sync);

/// Decodes and transforms samples on all threads, each to `values` numbers.
fn pixels(dataset: &dyn Dataset, indices: &[usize], values: usize, write: Write) -> Result<Vec<f32>, EvalError> {
    let mut out = vec![0.0; indices.len() * values];
    // A crop of no pixels is refused by the transform itself.
    out.par_chunks_mut(values.max(1)).zip(indices).try_for_each_init(Augmenter::new, |augmenter, (out, &index)| {
        let image = dataset.image(index)?;
        write(augmenter, &image, out).map_err(|source| EvalError::Transform { sample: dataset.name(index), source })
    })?;
    Ok(out)
}
