//! The linear protocol of the paper: a classifier on a frozen backbone, trained with random crops and flips.

use crate::choice::{best, check_choice, nothing_to_choose_by};
use crate::classifier::{Classifier, cosine};
use crate::features::check_labels;
use crate::random_crops::{images, random_crops};
use crate::stratified::hold_out;
use crate::subset::Subset;
use crate::training_state::{Clock, read_state, write_state};
use crate::{EvalError, EvalTransform, Predictions, extract};
use candle_core::{DType, Tensor, Var};
use clsa_data::{Dataset, LoaderConfig, OnError};
use clsa_model::{Encoder, SgdUpdate, Stage};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Settings of [`linear`]; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Passes over the training images. Default 100.
    pub epochs: u64,
    /// Learning rate of the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Of several the one is taken that
    /// classifies a held-out part of the training images best; then all of them are trained on. Default 10.
    pub lr: Vec<f64>,
    /// Part of each class's training images that is held out while the learning rate is chosen. Default 0.2.
    pub held_out: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step. Default 256.
    pub batch_size: usize,
    /// Area range of the random crops, which are of the test crop's size. Default 0.08 to 1 (torchvision's).
    pub scale: (f64, f64),
    /// Seed of weights, order, crops and the held-out part.
    pub seed: u64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            lr: vec![10.0],
            held_out: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            scale: (0.08, 1.0),
            seed: 0,
        }
    }
}

/// How far [`linear`] or [`crate::finetune`] has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingProgress {
    /// Epochs finished, those in which a learning rate is chosen among them.
    pub epoch: u64,
    /// Epochs in all.
    pub epochs: u64,
    /// Batches of the next epoch that are done.
    pub batch: usize,
    /// Batches of an epoch.
    pub batches: usize,
}

/// What [`linear`] gives.
#[derive(Clone, Debug)]
pub struct LinearResult {
    /// The ranked classes of each test image.
    pub predictions: Predictions,
    /// The true class of each test image.
    pub labels: Vec<u32>,
    /// The learning rate that was used.
    pub lr: f64,
    /// Top-1 accuracy on the held-out part of the training images by learning rate, percent, 0 where training diverged;
    /// empty where there was nothing to choose.
    pub held_out: Vec<(f64, f64)>,
    /// Mean cross-entropy on the training images in the last epoch.
    pub train_loss: Option<f64>,
    /// Seconds that earlier calls took for the epochs that were taken over from `state`.
    pub earlier_s: f64,
}

/// Trains `fc`, a linear classifier initialised N(0, 0.01) and 0, on the encoder's features of randomly cropped and
/// flipped training images, the backbone in evaluation mode, and applies it to the test images.
///
/// With `state`, the classifier is kept in that file after each epoch, and goes on from it if it is there: the result has
/// the bits of an uninterrupted run. While the learning rate is chosen, all candidates are trained at once on the same
/// features, and kept in a second file whose name ends in `.sweep`. The files are of this encoder, data and settings
/// alone, so their name should tell them.
///
/// # Errors
/// A sample has no class or cannot be read, the training images are all of one class, a test class is not among theirs,
/// a setting is out of range, the loss is not finite, or the state file does not fit.
pub fn linear(
    encoder: &Encoder,
    train: &Arc<dyn Dataset>,
    test: &dyn Dataset,
    transform: &EvalTransform,
    config: &LinearConfig,
    state: Option<&Path>,
    progress: &dyn Fn(TrainingProgress),
) -> Result<LinearResult, EvalError> {
    check_settings(config)?;
    let classes = check_labels(train.as_ref(), test)?;
    let mut training = Training { encoder, transform, config, classes, progress, epochs_before: 0 };
    let Choice { lr, held_out, earlier_s } = match config.lr[..] {
        [only] => Choice { lr: only, held_out: Vec::new(), earlier_s: 0.0 },
        _ => training.choose(train, state)?,
    };
    let (classifiers, losses) = training.train(train.clone(), &[lr], state)?;
    if let Some(epoch) = losses.diverged[0] {
        return Err(EvalError::Diverged { lr, epoch });
    }
    let (scores, labels) = training.scores(&classifiers, test)?;
    let predictions = Predictions::from_scores(&scores[0], classes);
    Ok(LinearResult {
        predictions,
        labels,
        lr,
        held_out,
        train_loss: losses.last,
        earlier_s: earlier_s + losses.earlier_s,
    })
}

fn check_settings(config: &LinearConfig) -> Result<(), EvalError> {
    check_training(config.epochs, config.batch_size)?;
    check_choice("lr", &config.lr, config.held_out)
}

pub(crate) fn check_training(epochs: u64, batch_size: usize) -> Result<(), EvalError> {
    for (key, value) in [("epochs", epochs), ("batch_size", batch_size as u64)] {
        if value == 0 {
            return Err(EvalError::Setting { key, value: "0".to_owned(), expected: "use at least 1" });
        }
    }
    Ok(())
}

/// What the choice of the learning rate and the training with it have in common.
struct Training<'a> {
    encoder: &'a Encoder,
    transform: &'a EvalTransform,
    config: &'a LinearConfig,
    classes: usize,
    progress: &'a dyn Fn(TrainingProgress),
    epochs_before: u64,
}

/// A learning rate and what it was chosen by.
struct Choice {
    lr: f64,
    /// As in [`LinearResult`].
    held_out: Vec<(f64, f64)>,
    /// Seconds of the epochs that were trained before.
    earlier_s: f64,
}

struct Losses {
    /// Mean loss of the first classifier in the last epoch.
    last: Option<f64>,
    /// Seconds of the epochs that were trained before.
    earlier_s: f64,
    /// For each classifier, the epoch in which its loss was first not finite.
    diverged: Vec<Option<u64>>,
}

impl Training<'_> {
    /// Trains a classifier with each learning rate on a part of the training images and takes the best on the others.
    fn choose(&mut self, train: &Arc<dyn Dataset>, state: Option<&Path>) -> Result<Choice, EvalError> {
        let config = self.config;
        let labels: Vec<u32> = (0..train.len()).filter_map(|i| train.label(i).class()).collect();
        let (held_out, fitted) = hold_out(&labels, config.held_out, config.seed);
        if held_out.is_empty() {
            return Err(nothing_to_choose_by("lr", &config.lr));
        }
        let fitted = Arc::new(Subset { dataset: train.clone(), indices: fitted });
        let held_out = Subset { dataset: train.clone(), indices: held_out };
        let state = state.map(|path| path.with_extension("sweep.safetensors"));
        let (classifiers, losses) = self.train(fitted, &config.lr, state.as_deref())?;
        self.epochs_before = config.epochs;
        let (scores, labels) = self.scores(&classifiers, &held_out)?;
        let tried: Vec<(f64, f64)> = (config.lr.iter().zip(scores).zip(&losses.diverged))
            .map(|((&lr, scores), diverged)| {
                let ranked = Predictions::from_scores(&scores, self.classes).ranked;
                let right = ranked.iter().zip(&labels).filter(|(ranked, label)| ranked[0] == **label).count();
                let top1 = 100.0 * right as f64 / labels.len() as f64;
                (lr, if diverged.is_some() { 0.0 } else { top1 })
            })
            .collect();
        Ok(Choice { lr: best(&tried), held_out: tried, earlier_s: losses.earlier_s })
    }

    /// Trains one classifier for each learning rate, all on the same batches.
    fn train(
        &self,
        train: Arc<dyn Dataset>,
        lrs: &[f64],
        state: Option<&Path>,
    ) -> Result<(Vec<Classifier>, Losses), EvalError> {
        let (config, device) = (self.config, self.encoder.device());
        let dim = self.encoder.config().feature_dim();
        let classifiers: Vec<Classifier> =
            (lrs.iter()).map(|_| Classifier::new(self.classes, dim, config.seed, device)).collect::<Result<_, _>>()?;
        let diverged: Vec<Var> =
            (lrs.iter()).map(|_| Var::from_slice(&[-1i64], 1, &candle_core::Device::Cpu)).collect::<Result<_, _>>()?;
        let mut variables = Vec::new();
        for (at, (classifier, diverged)) in classifiers.iter().zip(&diverged).enumerate() {
            let prefix = if lrs.len() == 1 { String::new() } else { format!("{at}.") };
            variables.extend(classifier.variables(&prefix));
            variables.push((format!("{prefix}diverged"), diverged.clone()));
        }
        let clock = Clock::new()?;
        variables.extend(clock.variables());
        let loader = LoaderConfig {
            batch_size: config.batch_size,
            seed: config.seed,
            drop_last: false,
            // As for features: a figure of fewer images than it says would be another one.
            on_error: OnError::Stop,
            ..LoaderConfig::default()
        };
        let loader = random_crops(train, self.transform, config.scale, loader)?;
        let phases = if config.lr.len() == 1 { 1 } else { 2 };
        let first = match state.filter(|path| path.exists()) {
            Some(path) => read_state(path, &variables)?,
            None => 0,
        };
        let (earlier_s, mut last) = (clock.seconds()?, clock.loss()?);
        for epoch in first..config.epochs {
            let (mut sum, mut samples) = (0.0, 0);
            for batch in loader.epoch(epoch, 0) {
                let batch = batch?;
                let images = images(&batch, self.transform.crop, device)?;
                let features = self.encoder.features(&images, Stage::Layer4)?.to_dtype(DType::F32)?;
                for (at, (classifier, diverged)) in classifiers.iter().zip(&diverged).enumerate() {
                    if diverged.to_vec1::<i64>()?[0] >= 0 {
                        continue;
                    }
                    let loss = classifier.cross_entropy(&features, &batch.labels)?;
                    if !loss.value.is_finite() {
                        diverged.set(&Tensor::new(&[epoch as i64], diverged.device())?)?;
                    }
                    let lr = cosine(lrs[at], epoch, config.epochs);
                    let sgd = SgdUpdate { lr, momentum: config.momentum, weight_decay: config.weight_decay };
                    classifier.update(&features, &loss, &sgd)?;
                    sum += if at == 0 { loss.value * batch.samples.len() as f64 } else { 0.0 };
                }
                if diverged.iter().all(|at| at.as_tensor().to_vec1::<i64>().is_ok_and(|at| at[0] >= 0)) {
                    return Ok((classifiers, Losses { last: None, earlier_s, diverged: vec![Some(epoch); lrs.len()] }));
                }
                samples += batch.samples.len();
                (self.progress)(TrainingProgress {
                    epoch: self.epochs_before + epoch,
                    epochs: phases * config.epochs,
                    batch: batch.index + 1,
                    batches: loader.batches_per_epoch(),
                });
            }
            last = Some(sum / samples as f64);
            if let Some(path) = state {
                clock.set(earlier_s, last)?;
                write_state(path, epoch + 1, &variables)?;
            }
        }
        let diverged = diverged
            .iter()
            .map(|at| Ok(u64::try_from(at.to_vec1::<i64>()?[0]).ok()))
            .collect::<Result<Vec<_>, EvalError>>()?;
        Ok((classifiers, Losses { last, earlier_s, diverged }))
    }

    /// Scores of each classifier on centre crops, and the images' classes.
    fn scores(&self, classifiers: &[Classifier], test: &dyn Dataset) -> Result<(Vec<Vec<f64>>, Vec<u32>), EvalError> {
        let indices: Vec<usize> = (0..test.len()).collect();
        let features = extract(self.encoder, test, &indices, self.transform, self.config.batch_size, &|_| {})?;
        features.check("test")?;
        let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), self.encoder.device())?;
        let scores = classifiers.iter().map(|classifier| classifier.scores(&rows)).collect::<Result<_, _>>()?;
        Ok((scores, features.labels))
    }
}
