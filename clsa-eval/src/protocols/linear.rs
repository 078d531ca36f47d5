//! The linear protocol of the paper: a classifier on a frozen backbone, trained with random crops and flips.

use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind};
use super::train_test::TrainTest;
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::choice::{Tried, check_choice, nothing_to_choose_by};
use crate::features::{check_labels, extract};
use crate::metrics::Predictions;
use crate::random_crops::{images, random_crops};
use crate::resumable::Resumable;
use crate::sgd_classifier::{Schedule, SgdClassifier, Targets, check_training};
use crate::stratified::hold_out;
use crate::subset::Subset;
use candle_core::{DType, Device, Tensor, Var};
use clsa_data::{Dataset, Label, LoaderConfig, OnError};
use clsa_model::Encoder;
use serde::{Deserialize, Serialize};
use serde_json::json;
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
    pub held_out: Vec<Tried>,
    /// Mean cross-entropy on the training images in the last epoch.
    pub train_loss: Option<f64>,
    /// Seconds that earlier calls took for the epochs that were taken over from `state`.
    pub seconds_before_resume: f64,
}

/// Trains a linear classifier initialized N(0, 0.01) and 0 on the encoder's features of randomly cropped and flipped
/// training images, the backbone in evaluation mode, and applies it to the test images. Calls `progress` after each batch
/// with the batches that are done, and with all, those that choose a learning rate among them.
///
/// With `state`, the classifier is kept in that file after each epoch, and goes on from it if it is there: the result is
/// bit-identical to that of an uninterrupted run. While the learning rate is chosen, all candidates are trained at once on
/// the same features, and kept in a second file whose name ends in `.sweep`. The files hold the state for exactly this
/// encoder, data and settings; name them after these.
///
/// # Errors
/// A sample has no class or cannot be read, the training images are all of one class, a test class is not among theirs,
/// a setting is out of range, the loss is not finite, or the state file does not fit.
///
/// # Examples
/// ```
/// use clsa_eval::candle_core::Device;
/// use clsa_eval::clsa_augment::CenterCrop;
/// use clsa_eval::clsa_data::{Source, Split};
/// use clsa_eval::clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
/// use clsa_eval::protocols::{LinearConfig, TrainTest, linear};
///
/// let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
/// let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu)?;
/// let source: Source = "procedural:classes=2,train=16,test=8,side=16".parse()?;
/// let (train, test) = (source.open(Split::Train)?, source.open(Split::Test)?);
/// let images = TrainTest { train, test, transform: CenterCrop::new(16, 16) };
/// let config = LinearConfig { epochs: 2, lr: vec![0.1], batch_size: 8, ..LinearConfig::default() };
/// let result = linear(&encoder, &images, &config, None, &|_, _| {})?;
/// assert_eq!((result.lr, result.predictions.ranked.len()), (0.1, 8));
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn linear(
    encoder: &Encoder,
    images: &TrainTest,
    config: &LinearConfig,
    state: Option<&Path>,
    progress: &dyn Fn(u64, u64),
) -> Result<LinearResult, EvalError> {
    check_training(config.epochs, config.batch_size)?;
    check_choice("lr", &config.lr, config.held_out)?;
    let classes = check_labels(images.train.as_ref(), images.test.as_ref())?;
    let mut training = Training { encoder, images, config, classes, progress, epochs_before: 0 };
    let Choice { lr, held_out, seconds_before_resume } = match config.lr[..] {
        [only] => Choice { lr: only, held_out: Vec::new(), seconds_before_resume: 0.0 },
        _ => training.choose(state)?,
    };
    let Trained { candidates, loss, seconds_before_resume: of_training } =
        training.train(images.train.clone(), &[lr], state)?;
    if let Some(epoch) = candidates[0].diverged_in()? {
        return Err(EvalError::Diverged { lr, epoch });
    }
    let (scores, labels) = training.scores(&candidates, images.test.as_ref())?;
    Ok(LinearResult {
        predictions: Predictions::from_scores(&scores[0], classes),
        labels,
        lr,
        held_out,
        train_loss: loss,
        seconds_before_resume: seconds_before_resume + of_training,
    })
}

/// What the choice of the learning rate and the training with it have in common.
struct Training<'a> {
    encoder: &'a Encoder,
    images: &'a TrainTest,
    config: &'a LinearConfig,
    classes: usize,
    progress: &'a dyn Fn(u64, u64),
    epochs_before: u64,
}

/// A learning rate and what it was chosen by.
struct Choice {
    lr: f64,
    /// As in [`LinearResult`].
    held_out: Vec<Tried>,
    seconds_before_resume: f64,
}

/// What a training gives.
struct Trained {
    /// One for each learning rate.
    candidates: Vec<Candidate>,
    /// Mean loss of the first of them in the last epoch.
    loss: Option<f64>,
    seconds_before_resume: f64,
}

/// A classifier in training at a learning rate of its own.
struct Candidate {
    classifier: SgdClassifier,
    lr: f64,
    /// The epoch in which the loss was first not finite, or -1; a variable, so that the state keeps it.
    diverged: Var,
}

impl Candidate {
    fn diverged_in(&self) -> Result<Option<u64>, EvalError> {
        Ok(u64::try_from(self.diverged.to_vec1::<i64>()?[0]).ok())
    }

    /// Everything that a state keeps, by name.
    fn variables(&self, prefix: &str) -> Vec<(String, Var)> {
        let mut variables = self.classifier.variables(prefix);
        variables.push((format!("{prefix}diverged"), self.diverged.clone()));
        variables
    }

    /// Trains on a batch, and gives its loss. One that has diverged stays as it is and gives none.
    fn step(
        &self,
        features: &Tensor,
        labels: &[Label],
        schedule: Schedule,
        epoch: u64,
    ) -> Result<Option<f64>, EvalError> {
        if self.diverged_in()?.is_some() {
            return Ok(None);
        }
        let loss = self.classifier.loss(features, Targets::Classes(labels))?;
        if !loss.value.is_finite() {
            self.diverged.set(&Tensor::new(&[epoch as i64], self.diverged.device())?)?;
        }
        self.classifier.update(features, &loss, &schedule.update(self.lr, epoch))?;
        Ok(Some(loss.value))
    }
}

impl Training<'_> {
    /// Trains a classifier with each learning rate on a part of the training images and takes the best on the others.
    fn choose(&mut self, state: Option<&Path>) -> Result<Choice, EvalError> {
        let (config, train) = (self.config, &self.images.train);
        let labels: Vec<u32> = (0..train.len()).filter_map(|i| train.label(i).class()).collect();
        let (held_out, fitted) = hold_out(&labels, config.held_out, config.seed);
        if held_out.is_empty() {
            return Err(nothing_to_choose_by("lr", &config.lr));
        }
        let fitted = Arc::new(Subset { dataset: train.clone(), indices: fitted });
        let held_out = Subset { dataset: train.clone(), indices: held_out };
        let state = state.map(|path| path.with_extension("sweep.safetensors"));
        let Trained { candidates, seconds_before_resume, .. } = self.train(fitted, &config.lr, state.as_deref())?;
        self.epochs_before = config.epochs;
        let (scores, labels) = self.scores(&candidates, &held_out)?;
        let mut tried = Vec::new();
        for (candidate, scores) in candidates.iter().zip(scores) {
            let score = match candidate.diverged_in()? {
                Some(_) => 0.0,
                None => Predictions::from_scores(&scores, self.classes).top1(&labels),
            };
            tried.push(Tried { value: candidate.lr, score });
        }
        Ok(Choice { lr: Tried::best(&tried), held_out: tried, seconds_before_resume })
    }

    /// Trains one classifier for each learning rate, all on the same batches.
    fn train(&self, train: Arc<dyn Dataset>, lrs: &[f64], state: Option<&Path>) -> Result<Trained, EvalError> {
        let config = self.config;
        let candidates = self.candidates(lrs)?;
        let loader = LoaderConfig {
            batch_size: config.batch_size,
            seed: config.seed,
            drop_last: false,
            // As feature extraction does: to skip a bad image would change the sample behind the reported figure.
            on_error: OnError::Stop,
            ..LoaderConfig::default()
        };
        let loader = random_crops(train, &self.images.transform, config.scale, loader)?;
        let batches = loader.batches_per_epoch() as u64;
        let all_batches = if config.lr.len() == 1 { config.epochs } else { 2 * config.epochs } * batches;
        let prefix = |at: usize| if lrs.len() == 1 { String::new() } else { format!("{at}.") };
        let variables = candidates.iter().enumerate().flat_map(|(at, candidate)| candidate.variables(&prefix(at)));
        let resumable = Resumable::begin(state, variables.collect())?;
        let seconds_before_resume = resumable.seconds_before_resume;
        let schedule = schedule(config);
        let mut last = resumable.last_loss;
        for epoch in resumable.first_epoch..config.epochs {
            let (mut sum, mut samples) = (0.0, 0);
            for batch in loader.epoch(epoch, 0) {
                let batch = batch?;
                let images = images(&batch, self.images.transform.crop, self.encoder.device())?;
                let features = self.encoder.features(&images)?.to_dtype(DType::F32)?;
                let mut remaining = false;
                for (at, candidate) in candidates.iter().enumerate() {
                    if let Some(loss) = candidate.step(&features, &batch.labels, schedule, epoch)? {
                        sum += if at == 0 { loss * batch.samples.len() as f64 } else { 0.0 };
                    }
                    remaining |= candidate.diverged_in()?.is_none();
                }
                if !remaining {
                    return Ok(Trained { candidates, loss: None, seconds_before_resume });
                }
                samples += batch.samples.len();
                (self.progress)((self.epochs_before + epoch) * batches + batch.index as u64 + 1, all_batches);
            }
            let loss = sum / samples as f64;
            last = Some(loss);
            resumable.finish_epoch(epoch, loss)?;
        }
        Ok(Trained { candidates, loss: last, seconds_before_resume })
    }

    fn candidates(&self, lrs: &[f64]) -> Result<Vec<Candidate>, EvalError> {
        let dim = self.encoder.feature_dim();
        let candidate = |&lr: &f64| {
            let classifier = SgdClassifier::new(self.classes, dim, self.config.seed, self.encoder.device())?;
            Ok(Candidate { classifier, lr, diverged: Var::from_slice(&[-1i64], 1, &Device::Cpu)? })
        };
        lrs.iter().map(candidate).collect()
    }

    /// Scores of each classifier on center crops, and the images' classes.
    fn scores(&self, candidates: &[Candidate], test: &dyn Dataset) -> Result<(Vec<Vec<f64>>, Vec<u32>), EvalError> {
        let indices: Vec<usize> = (0..test.len()).collect();
        let (transform, batch_size) = (&self.images.transform, self.config.batch_size);
        let features = extract(self.encoder, test, &indices, transform, batch_size, &|_, _| {})?;
        features.check("test")?;
        let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), self.encoder.device())?;
        let scores = candidates.iter().map(|candidate| candidate.classifier.scores(&rows));
        Ok((scores.collect::<Result<_, _>>()?, features.labels))
    }
}

fn schedule(config: &LinearConfig) -> Schedule {
    Schedule { epochs: config.epochs, momentum: config.momentum, weight_decay: config.weight_decay }
}

/// The protocol `linear`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linear;

impl Protocol for Linear {
    fn name(&self) -> &str {
        "linear"
    }

    fn about(&self) -> &str {
        "the paper's: frozen backbone in evaluation mode, linear classifier from N(0, 0.01), random crops and flips, SGD \
         with momentum 0.9, cosine per epoch"
    }

    fn needs(&self) -> Needs {
        Needs { features: false, labels: LabelKind::OneClass, test_images: true }
    }

    fn settings(&self) -> &[Setting] {
        &[
            Setting {
                name: "epochs",
                kind: SettingKind::Count,
                placeholder: "EPOCHS",
                about: "passes over the training images (100)",
            },
            Setting {
                name: "lr",
                kind: SettingKind::Positives,
                placeholder: "LR",
                about: "learning rate (10); of several, as in 1,3,10, the best on a fifth of each class's training images \
                        is taken, then all are trained on",
            },
            Setting {
                name: "batch-size",
                kind: SettingKind::Count,
                placeholder: "IMAGES",
                about: "images per step (256)",
            },
        ]
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let (defaults, settings) = (LinearConfig::default(), bench.settings());
        let config = LinearConfig {
            epochs: settings.count("epochs")?.unwrap_or(defaults.epochs),
            lr: settings.numbers("lr")?.unwrap_or_else(|| defaults.lr.clone()),
            batch_size: settings.count("batch-size")?.map_or(defaults.batch_size, |images| images as usize),
            seed: settings.seed(),
            ..defaults
        };
        let (train, test) = (bench.data().train().clone(), bench.data().test()?.clone());
        let images = TrainTest { train, test, transform: *bench.transform() };
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        for compared in bench.encoders() {
            let ComparedEncoder { kind, encoder, .. } = compared;
            let state = bench.state_file(self.name(), compared, bench.train_sha256(), &config);
            let progress = bench.observer().begin(&format!("{}, {kind}", self.name()), "batches");
            let result = linear(encoder, &images, &config, Some(&state), &progress)?;
            drop(progress);
            let guess = (bench.data().classes() as f64).ln();
            if let Some(loss) = result.train_loss.filter(|loss| *loss > guess) {
                bench.observer().note(&format!(
                    "{}, {kind}: the loss of the last epoch is {loss:.1}, above a guess's {guess:.1}: learning rate {} is \
                     too large for these features; let the best of several be chosen, such as 0.01,0.1,1,10",
                    self.name(),
                    result.lr
                ));
            }
            let details = json!({ "lr": result.lr, "held_out": result.held_out, "train_loss": result.train_loss });
            outcome.results.push(bench.accuracy(*kind, details, &result.predictions, &result.labels));
            outcome.seconds_before_resume += result.seconds_before_resume;
        }
        Ok(outcome)
    }
}
