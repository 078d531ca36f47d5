//! The linear protocol of the paper: a classifier on a frozen backbone, trained with random crops and flips.

use crate::evaluation::write_whole;
use crate::features::check_labels;
use crate::{EvalError, EvalTransform, Predictions, extract};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use clsa_augment::{Augmenter, Layout, View, ViewId};
use clsa_data::{Dataset, Label, Loader, LoaderConfig, Sample, Transform};
use clsa_model::{Encoder, Stage};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Settings of [`linear`]; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Passes over the training images. Default 100.
    pub epochs: u64,
    /// Learning rate of the first epoch; epoch e has `lr · ½(1 + cos(π · e / epochs))`. Default 10.
    pub lr: f64,
    /// Momentum of SGD. Default 0.9.
    pub momentum: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
    /// Images per step. Default 256.
    pub batch_size: usize,
    /// Area range of the random crops, which are of the test crop's size. Default 0.08 to 1 (torchvision's).
    pub scale: (f64, f64),
    /// Seed of weights, order and crops.
    pub seed: u64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { epochs: 100, lr: 10.0, momentum: 0.9, weight_decay: 0.0, batch_size: 256, scale: (0.08, 1.0), seed: 0 }
    }
}

/// How far [`linear`] has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearProgress {
    /// Epochs finished.
    pub epoch: u64,
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
    /// Mean cross-entropy on the training images in the last epoch; none where that was trained before.
    pub train_loss: Option<f64>,
}

/// Trains `fc`, a linear classifier initialised N(0, 0.01) and 0, on the encoder's features of randomly cropped and
/// flipped training images, the backbone in evaluation mode, and applies it to the test images.
///
/// With `state`, the classifier is kept in that file after each epoch, and goes on from it if it is there: the result has
/// the bits of an uninterrupted run. The file is of this encoder, data and settings alone, so its name should tell them.
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
    progress: &dyn Fn(LinearProgress),
) -> Result<LinearResult, EvalError> {
    check_settings(config)?;
    let classes = check_labels(train.as_ref(), test)?;
    let crops = RandomCrops {
        view: View { normalize: transform.normalize, ..View::crop_and_flip(transform.crop, config.scale) },
        seed: config.seed,
    };
    let loader_config =
        LoaderConfig { batch_size: config.batch_size, seed: config.seed, drop_last: false, ..LoaderConfig::default() };
    let loader = Loader::new(train.clone(), Arc::new(crops), loader_config)?;
    let mut classifier = match state.filter(|path| path.exists()) {
        Some(path) => Classifier::read(path, classes, encoder)?,
        None => Classifier::new(classes, encoder, config.seed)?,
    };
    let mut train_loss = None;
    while classifier.epochs < config.epochs {
        let epoch = classifier.epochs;
        let lr = config.lr * 0.5 * (1.0 + (std::f64::consts::PI * epoch as f64 / config.epochs as f64).cos());
        let (mut sum, mut samples) = (0.0, 0);
        for batch in loader.epoch(epoch, 0) {
            let batch = batch?;
            let n = batch.samples.len();
            let side = transform.crop as usize;
            let images =
                Tensor::from_slice(batch.as_slice(), (n, side, side, 3), encoder.device())?.permute((0, 3, 1, 2))?;
            let features = encoder.features(&images, Stage::Layer4)?.to_dtype(DType::F32)?;
            let labels: Vec<u32> = batch.labels.iter().filter_map(Label::class).collect();
            let loss = classifier.step(&features, &labels, lr, config)?;
            if !loss.is_finite() {
                return Err(EvalError::Diverged { lr, epoch });
            }
            sum += loss * n as f64;
            samples += n;
            progress(LinearProgress { epoch, batch: batch.index + 1, batches: loader.batches_per_epoch() });
        }
        classifier.epochs += 1;
        train_loss = Some(sum / samples as f64);
        if let Some(path) = state {
            classifier.write(path)?;
        }
    }
    let indices: Vec<usize> = (0..test.len()).collect();
    let features = extract(encoder, test, &indices, transform, config.batch_size, &|_| {})?;
    features.check("test")?;
    let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), encoder.device())?;
    let scores = classifier.logits(&rows)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let predictions = Predictions::from_scores(&scores, classes);
    Ok(LinearResult { predictions, labels: features.labels, train_loss })
}

fn check_settings(config: &LinearConfig) -> Result<(), EvalError> {
    let wrong = |key, value: String, expected| Err(EvalError::Setting { key, value, expected });
    if config.epochs == 0 {
        return wrong("epochs", "0".to_owned(), "use at least 1");
    }
    if config.batch_size == 0 {
        return wrong("batch_size", "0".to_owned(), "use at least 1");
    }
    if !(config.lr.is_finite() && config.lr > 0.0) {
        return wrong("lr", config.lr.to_string(), "use a positive number");
    }
    Ok(())
}

/// Random crops and flips, in the layout (N, side, side, 3).
struct RandomCrops {
    view: View,
    seed: u64,
}

impl Transform for RandomCrops {
    type Batch = Vec<f32>;
    type Slot<'a> = &'a mut [f32];

    fn allocate(&self, samples: usize) -> Vec<f32> {
        vec![0.0; samples * self.view.values()]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<f32>) -> Vec<&'a mut [f32]> {
        batch.chunks_exact_mut(self.view.values()).collect()
    }

    fn apply(&self, sample: &Sample<'_>, out: &mut [f32]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        thread_local!(static AUGMENTER: RefCell<Augmenter> = RefCell::new(Augmenter::new()));
        let id = ViewId { seed: self.seed, epoch: sample.epoch, sample: sample.index as u64, view: 0 };
        AUGMENTER.with_borrow_mut(|augmenter| {
            augmenter.write(sample.image, &self.view, id, Layout::ChannelsLast, out).map_err(Into::into)
        })
    }
}

/// `fc` and its optimiser. Weight (classes, dim), bias (classes).
struct Classifier {
    weight: Tensor,
    bias: Tensor,
    weight_velocity: Tensor,
    bias_velocity: Tensor,
    /// Epochs trained.
    epochs: u64,
}

impl Classifier {
    fn new(classes: usize, encoder: &Encoder, seed: u64) -> Result<Self, EvalError> {
        let (dim, device) = (encoder.config().feature_dim(), encoder.device());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let normal = Normal::new(0.0f32, 0.01).expect("a positive deviation");
        let weight: Vec<f32> = (0..classes * dim).map(|_| normal.sample(&mut rng)).collect();
        let bias = Tensor::zeros(classes, DType::F32, device)?;
        let weight = Tensor::from_vec(weight, (classes, dim), device)?;
        Ok(Self { weight_velocity: weight.zeros_like()?, bias_velocity: bias.clone(), weight, bias, epochs: 0 })
    }

    fn logits(&self, features: &Tensor) -> Result<Tensor, EvalError> {
        Ok(features.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }

    /// One step of SGD on the mean cross-entropy, which is returned.
    fn step(&mut self, features: &Tensor, labels: &[u32], lr: f64, config: &LinearConfig) -> Result<f64, EvalError> {
        let logits = self.logits(features)?;
        let (n, classes) = logits.dims2()?;
        let mut one_hot = vec![0f32; n * classes];
        labels.iter().enumerate().for_each(|(row, &label)| one_hot[row * classes + label as usize] = 1.0);
        let one_hot = Tensor::from_vec(one_hot, (n, classes), logits.device())?;
        let loss = (log_softmax(&logits, D::Minus1)? * &one_hot)?.sum_all()?.to_scalar::<f32>()?;
        let residual = ((softmax(&logits, D::Minus1)? - one_hot)? / n as f64)?;
        let update = |value: &mut Tensor, velocity: &mut Tensor, gradient: Tensor| -> Result<(), EvalError> {
            let gradient = (gradient + (&*value * config.weight_decay)?)?;
            *velocity = ((&*velocity * config.momentum)? + gradient)?;
            *value = (&*value - (&*velocity * lr)?)?;
            Ok(())
        };
        update(&mut self.weight, &mut self.weight_velocity, residual.t()?.matmul(features)?)?;
        update(&mut self.bias, &mut self.bias_velocity, residual.sum(0)?)?;
        Ok(-f64::from(loss) / n as f64)
    }

    fn write(&self, path: &Path) -> Result<(), EvalError> {
        let epochs = Tensor::new(&[self.epochs as i64], &Device::Cpu)?;
        let tensors = [
            ("fc.weight", &self.weight),
            ("fc.bias", &self.bias),
            ("velocity.weight", &self.weight_velocity),
            ("velocity.bias", &self.bias_velocity),
            ("epochs", &epochs),
        ];
        let bytes = safetensors::serialize(tensors, None)
            .map_err(|e| EvalError::Run { path: path.to_owned(), reason: format!("cannot be written ({e})") })?;
        write_whole(path, &bytes)
    }

    fn read(path: &Path, classes: usize, encoder: &Encoder) -> Result<Self, EvalError> {
        let damaged = |what: &str| EvalError::Run {
            path: path.to_owned(),
            reason: format!("this state of the linear protocol {what}; remove it to begin anew"),
        };
        let bytes = std::fs::read(path).map_err(|source| EvalError::Io { path: path.to_owned(), source })?;
        let mut tensors: HashMap<String, Tensor> =
            candle_core::safetensors::load_buffer(&bytes, encoder.device()).map_err(|_| damaged("is damaged"))?;
        let dim = encoder.config().feature_dim();
        let mut take = |name: &str, dims: &[usize]| match tensors.remove(name) {
            Some(tensor) if tensor.dims() == dims => Ok(tensor),
            _ => Err(damaged(&format!("has no {name} of shape {dims:?}"))),
        };
        let epochs = take("epochs", &[1])?.to_vec1::<i64>()?[0];
        Ok(Self {
            weight: take("fc.weight", &[classes, dim])?,
            bias: take("fc.bias", &[classes])?,
            weight_velocity: take("velocity.weight", &[classes, dim])?,
            bias_velocity: take("velocity.bias", &[classes])?,
            epochs: u64::try_from(epochs).map_err(|_| damaged("has a negative epoch"))?,
        })
    }
}
