//! The training of multi-label classifiers on features of crops.

use super::config::Voc07Config;
use crate::EvalError;
use crate::choice::{Tried, nothing_to_choose_by};
use crate::features::{TEST_CROPS, TRAIN_CROPS};
use crate::metrics::mean_area;
use crate::sgd_classifier::{SgdClassifier, SgdSchedule};
use candle_core::{Device, Tensor};
use clsa_data::{Presence, order};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// Mean over each image's [`TEST_CROPS`] of the sigmoid outputs.
pub(super) fn mean_outputs(classifier: &SgdClassifier, rows: &[f32], dim: usize) -> Result<Vec<f64>, EvalError> {
    let rows = Tensor::from_slice(rows, (rows.len() / dim, dim), &Device::Cpu)?;
    let logits = classifier.scores(&rows)?;
    let classes = logits.len() / rows.dim(0)?;
    let mean = |image: &[f64], class: usize| {
        let outputs = image.chunks_exact(classes).map(|crop| 1.0 / (1.0 + (-crop[class]).exp()));
        outputs.sum::<f64>() / TEST_CROPS as f64
    };
    let images = logits.chunks_exact(TEST_CROPS * classes);
    Ok(images.flat_map(|image| (0..classes).map(move |class| mean(image, class))).collect())
}

/// What the choice of the learning rate and the training with it have in common.
pub(super) struct Training<'a> {
    /// Ten for each image.
    pub rows: Vec<f32>,
    pub dim: usize,
    pub labels: &'a [Arc<[Presence]>],
    pub config: &'a Voc07Config,
    pub progress: &'a dyn Fn(u64, u64),
}

impl Training<'_> {
    /// Trains with each learning rate on a part of the training images and takes the best on the others.
    pub fn choose(&self) -> Result<(f64, Vec<Tried>), EvalError> {
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
            let score = match self.train(fitted, lr, tried.len()) {
                Ok((classifier, _)) => {
                    let scores = mean_outputs(&classifier, &rows, self.dim)?;
                    let labels: Vec<_> = held_out.iter().map(|&image| &self.labels[image as usize]).collect();
                    match mean_area(&scores, &labels) {
                        Some(mean) => 100.0 * mean,
                        None => return Err(nothing_to_choose_by("lr", &config.lr)),
                    }
                }
                Err(EvalError::Diverged { .. }) => 0.0,
                Err(error) => return Err(error),
            };
            tried.push(Tried { value: lr, score });
        }
        Ok((Tried::best(&tried), tried))
    }

    /// The feature vectors of an image's crops.
    fn crops(&self, image: u32) -> impl Iterator<Item = &[f32]> {
        let values = TRAIN_CROPS * self.dim;
        self.rows[image as usize * values..][..values].chunks_exact(self.dim)
    }

    /// A classifier trained on some of the images, and its loss in the last epoch. There were `before` such trainings.
    ///
    /// # Errors
    /// [`EvalError::Diverged`] with the epoch in which the loss was first not finite, or a tensor operation fails.
    pub fn train(&self, images: &[u32], lr: f64, before: usize) -> Result<(SgdClassifier, f64), EvalError> {
        let config = self.config;
        let trainings = if config.lr.len() == 1 { 1 } else { config.lr.len() as u64 + 1 };
        let classifier = SgdClassifier::new(self.labels[0].len(), self.dim, config.seed, &Device::Cpu)?;
        let Voc07Config { epochs, momentum, weight_decay, .. } = *config;
        let schedule = SgdSchedule { epochs, momentum, weight_decay };
        let mut train_loss = 0.0;
        for epoch in 0..config.epochs {
            let update = schedule.update(lr, epoch);
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
                let value = loss.value()?;
                if !value.is_finite() {
                    return Err(EvalError::Diverged { lr, epoch });
                }
                classifier.update(&features, &loss, &update)?;
                sum += value * batch.len() as f64;
            }
            train_loss = sum / images.len() as f64;
            (self.progress)(before as u64 * config.epochs + epoch + 1, trainings * config.epochs);
        }
        if !classifier.is_finite()? {
            return Err(EvalError::Diverged { lr, epoch: config.epochs - 1 });
        }
        Ok((classifier, train_loss))
    }
}
