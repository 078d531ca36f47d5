//! Fine-tuning: backbone and classifier trained together, with all labels or a few.

use crate::classifier::{Classifier, cosine};
use crate::features::check_labels;
use crate::linear::check_training;
use crate::random_crops::{images, random_crops};
use crate::training_state::{Clock, read_state, write_state};
use crate::{EvalError, EvalTransform, Predictions, TrainingProgress, extract};
use candle_core::{DType, Tensor, Var};
use clsa_data::{Dataset, LoaderConfig, OnError};
use clsa_model::{Encoder, Gradients, SgdUpdate};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Settings of [`finetune`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// Passes over the labelled images. Default 20.
    pub epochs: u64,
    /// Learning rate of the backbone in the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Default 0.01.
    pub lr: f64,
    /// Learning rate of the classifier, likewise. Default 0.2.
    pub head_lr: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step, or all labelled images where these are fewer; an epoch leaves out a last batch that is not full.
    /// Default 256.
    pub batch_size: usize,
    /// Area range of the random crops, which are of the test crop's size. Default 0.08 to 1 (torchvision's).
    pub scale: (f64, f64),
    /// Seed of the classifier, order and crops.
    pub seed: u64,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            epochs: 20,
            lr: 0.01,
            head_lr: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            batch_size: 256,
            scale: (0.08, 1.0),
            seed: 0,
        }
    }
}

/// What [`finetune`] gives.
#[derive(Clone, Debug)]
pub struct FinetuneResult {
    /// The ranked classes of each test image.
    pub predictions: Predictions,
    /// The true class of each test image.
    pub labels: Vec<u32>,
    /// Mean cross-entropy on the training images in the last epoch.
    pub train_loss: Option<f64>,
    /// Seconds that earlier calls took for the epochs that were taken over from `state`.
    pub earlier_s: f64,
}

/// Trains a copy of the backbone, batch norm by the statistics of each batch, and a linear classifier initialised
/// N(0, 0.01) and 0, by SGD on randomly cropped and flipped training images, and applies them to the test images. The
/// encoder stays as it is.
///
/// With `state`, everything trained is kept in that file after each epoch, and goes on from it if it is there: the result
/// has the bits of an uninterrupted run. The file is of this encoder, data and settings alone, so its name should tell
/// them.
///
/// # Errors
/// A sample has no class or cannot be read, the training images are all of one class, a test class is not among theirs,
/// a setting is out of range, the loss is not finite, or the state file does not fit.
pub fn finetune(
    encoder: &Encoder,
    train: &Arc<dyn Dataset>,
    test: &dyn Dataset,
    transform: &EvalTransform,
    config: &FinetuneConfig,
    state: Option<&Path>,
    progress: &dyn Fn(TrainingProgress),
) -> Result<FinetuneResult, EvalError> {
    check_settings(config)?;
    let classes = check_labels(train.as_ref(), test)?;
    let device = encoder.device();
    let tuned = Encoder::new(encoder.config(), encoder.compute(), 0, device)?;
    tuned.copy_from(encoder)?;
    let classifier = Classifier::new(classes, encoder.config().feature_dim(), config.seed, device)?;
    let velocity: Vec<Var> = (tuned.parameters().iter())
        .map(|p| Var::zeros(p.var.shape(), p.var.dtype(), device))
        .collect::<candle_core::Result<_>>()?;
    let mut variables = classifier.variables("");
    for (parameter, velocity) in tuned.parameters().iter().zip(&velocity).filter(|(p, _)| !p.name.starts_with("fc.")) {
        variables.push((parameter.name.clone(), parameter.var.clone()));
        variables.push((format!("velocity.{}", parameter.name), velocity.clone()));
    }
    variables.extend(tuned.buffers().iter().map(|buffer| (buffer.name.clone(), buffer.var.clone())));
    let clock = Clock::new()?;
    variables.extend(clock.variables());
    let batch_size = config.batch_size.min(train.len());
    // As for features: a figure of fewer images than it says would be another one.
    let on_error = OnError::Stop;
    let loader = LoaderConfig { batch_size, seed: config.seed, on_error, ..LoaderConfig::default() };
    let loader = random_crops(train.clone(), transform, config.scale, loader)?;
    let first = match state.filter(|path| path.exists()) {
        Some(path) => read_state(path, &variables)?,
        None => 0,
    };
    let mut gradients = Gradients::new(tuned.parameters().len());
    let (earlier_s, mut train_loss) = (clock.seconds()?, clock.loss()?);
    for epoch in first..config.epochs {
        let sgd = |lr: f64| SgdUpdate {
            lr: cosine(lr, epoch, config.epochs),
            momentum: config.momentum,
            weight_decay: config.weight_decay,
        };
        let mut sum = 0.0;
        for batch in loader.epoch(epoch, 0) {
            let batch = batch?;
            let pass = tuned.forward_features(&images(&batch, transform.crop, device)?)?;
            let features = pass.embedding().to_dtype(DType::F32)?;
            let loss = classifier.cross_entropy(&features, &batch.labels)?;
            if !loss.value.is_finite() {
                return Err(EvalError::Diverged { lr: config.lr, epoch });
            }
            gradients.clear();
            let gradient = classifier.features_gradient(&loss)?.to_dtype(pass.embedding().dtype())?;
            pass.backward(&gradient, &mut gradients)?;
            classifier.update(&features, &loss, &sgd(config.head_lr))?;
            for ((parameter, velocity), gradient) in tuned.parameters().iter().zip(&velocity).zip(gradients.iter()) {
                if let Some(gradient) = gradient {
                    sgd(config.lr).apply(&parameter.var, velocity, gradient)?;
                }
            }
            sum += loss.value;
            let (batch, batches) = (batch.index + 1, loader.batches_per_epoch());
            progress(TrainingProgress { epoch, epochs: config.epochs, batch, batches });
        }
        train_loss = Some(sum / loader.batches_per_epoch() as f64);
        if let Some(path) = state {
            clock.set(earlier_s, train_loss)?;
            write_state(path, epoch + 1, &variables)?;
        }
    }
    let indices: Vec<usize> = (0..test.len()).collect();
    let features = extract(&tuned, test, &indices, transform, config.batch_size, &|_| {})?;
    features.check("test")?;
    let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), device)?;
    let predictions = Predictions::from_scores(&classifier.scores(&rows)?, classes);
    Ok(FinetuneResult { predictions, labels: features.labels, train_loss, earlier_s })
}

fn check_settings(config: &FinetuneConfig) -> Result<(), EvalError> {
    check_training(config.epochs, config.batch_size)?;
    for (key, lr) in [("lr", config.lr), ("head_lr", config.head_lr)] {
        if !(lr.is_finite() && lr > 0.0) {
            return Err(EvalError::Setting { key, value: lr.to_string(), expected: "use a positive number" });
        }
    }
    Ok(())
}
