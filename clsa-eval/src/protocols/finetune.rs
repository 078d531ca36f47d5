//! Fine-tuning: backbone and classifier trained together, with all labels or a few.

mod config;
mod tuned;

pub use config::FinetuneConfig;

use super::data::EvalData;
use super::label_subset::LabelSubset;
use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind, Settings};
use super::train_test::TrainTest;
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::features::{check_labels, extract};
use crate::hashes::data_hash;
use crate::metrics::Predictions;
use crate::random_crops::{images, random_crops};
use crate::resumable::Resumable;
use crate::sgd_classifier::check_training;
use candle_core::Tensor;
use clsa_data::{Dataset, LoaderConfig, OnError};
use clsa_model::{Encoder, Gradients};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tuned::Tuned;

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
    pub seconds_before_resume: f64,
}

/// Trains a copy of the backbone, batch norm by the statistics of each batch, and a linear classifier initialized
/// N(0, 0.01) and 0, by SGD on randomly cropped and flipped training images, and applies them to the test images. The
/// classifier stands on the backbone's last stage, wherever the encoder's features are taken, and the encoder stays as it
/// is. Calls `progress` after each batch with the batches that are done, and with all.
///
/// With `state`, everything trained is kept in that file after each epoch, and goes on from it if it is there: the result
/// is bit-identical to that of an uninterrupted run. The file holds the state for exactly this encoder, data and settings;
/// name it after them.
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
/// use clsa_eval::protocols::{FinetuneConfig, TrainTest, finetune};
///
/// let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
/// let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu)?;
/// let source: Source = "procedural:classes=2,train=16,test=8,side=16".parse()?;
/// let (train, test) = (source.open(Split::Train)?, source.open(Split::Test)?);
/// let images = TrainTest { train, test, transform: CenterCrop::new(16, 16) };
/// let config = FinetuneConfig { epochs: 1, batch_size: 8, ..FinetuneConfig::default() };
/// assert_eq!(finetune(&encoder, &images, &config, None, &|_, _| {})?.labels.len(), 8);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn finetune(
    encoder: &Encoder,
    images: &TrainTest,
    config: &FinetuneConfig,
    state: Option<&Path>,
    progress: &dyn Fn(u64, u64),
) -> Result<FinetuneResult, EvalError> {
    check_config(config)?;
    let classes = check_labels(images.train.as_ref(), images.test.as_ref())?;
    let tuned = Tuned::new(encoder, classes, config.seed)?;
    let batch_size = config.batch_size.min(images.train.len());
    // As feature extraction does: to skip a bad image would change the sample behind the reported figure.
    let on_error = OnError::Stop;
    let loader = LoaderConfig { batch_size, seed: config.seed, on_error, ..LoaderConfig::default() };
    let loader = random_crops(images.train.clone(), &images.transform, config.scale, loader)?;
    let batches = loader.batches_per_epoch();
    let resumable = Resumable::begin(state, tuned.variables())?;
    let mut gradients = Gradients::new(tuned.encoder.parameters().len());
    let mut train_loss = resumable.last_loss;
    for epoch in resumable.first_epoch..config.epochs {
        let mut sum = 0.0;
        for batch in loader.epoch(epoch, 0) {
            let batch = batch?;
            let pixels = self::images(&batch, images.transform.crop, encoder.device())?;
            let loss = tuned.step(&pixels, &batch.labels, config, epoch, &mut gradients)?;
            sum += loss;
            progress(epoch * batches as u64 + batch.index as u64 + 1, config.epochs * batches as u64);
        }
        let loss = sum / batches as f64;
        train_loss = Some(loss);
        resumable.finish_epoch(epoch, loss)?;
    }
    if !tuned.classifier.is_finite()? {
        return Err(EvalError::Diverged { lr: config.head_lr, epoch: config.epochs - 1 });
    }
    let test = images.test.as_ref();
    let indices: Vec<usize> = (0..test.len()).collect();
    let features = extract(&tuned.encoder, test, &indices, &images.transform, config.batch_size, &|_, _| {})?;
    features.check("test")?;
    let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), encoder.device())?;
    let predictions = Predictions::from_scores(&tuned.classifier.scores(&rows)?, classes);
    let seconds_before_resume = resumable.seconds_before_resume;
    Ok(FinetuneResult { predictions, labels: features.labels, train_loss, seconds_before_resume })
}

fn check_config(config: &FinetuneConfig) -> Result<(), EvalError> {
    check_training(config.epochs, config.batch_size)?;
    for (key, lr) in [("lr", config.lr), ("head_lr", config.head_lr)] {
        if !(lr.is_finite() && lr > 0.0) {
            return Err(EvalError::setting(key, lr, "use a positive number"));
        }
    }
    Ok(())
}

/// The protocol `finetune`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finetune;

impl Finetune {
    /// The images whose labels are used, and how the settings name them.
    fn subset(settings: &Settings) -> Result<(LabelSubset, String), EvalError> {
        match (settings.text("label-list")?, settings.text("labels")?) {
            (Some(list), None) => Ok((LabelSubset::List(list.into()), list.to_owned())),
            (None, share) => {
                let share = share.unwrap_or("100%");
                let subset = share.parse().map_err(|expected: String| EvalError::setting("labels", share, expected))?;
                Ok((subset, share.to_owned()))
            }
            (Some(list), Some(_)) => {
                Err(EvalError::setting("label-list", list, "name either a list or a share of the labels"))
            }
        }
    }

    /// The hash of the labeled images; that of all training images is known.
    fn train_sha256(bench: &Workbench<'_>, labeled: &Arc<dyn Dataset>) -> Result<String, EvalError> {
        if Arc::ptr_eq(labeled, bench.data().train()) {
            return Ok(bench.train_sha256().to_owned());
        }
        let progress = bench.observer().begin("labeled images, content", "images");
        data_hash(labeled.as_ref(), &progress)
    }
}

impl Protocol for Finetune {
    fn name(&self) -> &str {
        "finetune"
    }

    fn about(&self) -> &str {
        "backbone and linear classifier trained together, with all labels or some"
    }

    fn needs(&self) -> Needs {
        Needs { features: false, labels: LabelKind::OneClass, test_images: true }
    }

    fn settings(&self) -> &[Setting] {
        &[
            Setting {
                name: "labels",
                kind: SettingKind::Text,
                placeholder: "SHARE",
                about: "share of each class's training images whose labels are used, drawn by the seed, such as 1% or \
                        10% (100%)",
            },
            Setting {
                name: "label-list",
                kind: SettingKind::Text,
                placeholder: "FILE",
                about: "the training images whose labels are used: a file with one image name a line (the form of \
                        SimCLR's ImageNet subsets)",
            },
            Setting {
                name: "epochs",
                kind: SettingKind::Count,
                placeholder: "EPOCHS",
                about: "passes over the labeled images (20)",
            },
            Setting {
                name: "lr",
                kind: SettingKind::Positives,
                placeholder: "LR",
                about: "learning rate of the backbone, only one (0.01)",
            },
            Setting {
                name: "head-lr",
                kind: SettingKind::Positive,
                placeholder: "LR",
                about: "learning rate of the classifier (0.2)",
            },
            Setting {
                name: "batch-size",
                kind: SettingKind::Count,
                placeholder: "IMAGES",
                about: "images per step (256)",
            },
        ]
    }

    fn trains_backbone(&self) -> bool {
        true
    }

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        Self::subset(settings)?;
        match settings.numbers("lr")?.as_deref() {
            None | Some([_]) => Ok(()),
            Some(several) => {
                let expected = "finetune takes one learning rate; name several for linear or voc07 alone";
                Err(EvalError::setting("lr", format!("{several:?}"), expected))
            }
        }
    }

    fn check_data(&self, data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
        let (subset, _) = Self::subset(settings)?;
        subset.of(data.train(), data.test()?.as_ref(), settings.seed()).map(|_| ())
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let (defaults, settings) = (FinetuneConfig::default(), bench.settings());
        let config = FinetuneConfig {
            epochs: settings.count("epochs")?.unwrap_or(defaults.epochs),
            lr: settings.numbers("lr")?.and_then(|lr| lr.first().copied()).unwrap_or(defaults.lr),
            head_lr: settings.number("head-lr")?.unwrap_or(defaults.head_lr),
            batch_size: settings.count("batch-size")?.map_or(defaults.batch_size, |images| images as usize),
            seed: settings.seed(),
            ..defaults
        };
        let (subset, labels) = Self::subset(settings)?;
        let test = bench.data().test()?.clone();
        let train = subset.of(bench.data().train(), test.as_ref(), settings.seed())?;
        let train_sha256 = Self::train_sha256(bench, &train)?;
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        outcome.settings["labels"] = json!(labels);
        outcome.settings["labelled_samples"] = json!(train.len());
        outcome.variant = Some(match &subset {
            LabelSubset::List(list) => {
                let name = list.file_name().unwrap_or(list.as_os_str()).to_string_lossy();
                // Those of two folders may have one name.
                format!("{name} ({})", &train_sha256[..6])
            }
            LabelSubset::Percent(_) => labels,
        });
        let images = TrainTest { train, test, transform: *bench.transform() };
        for compared in bench.encoders() {
            let ComparedEncoder { kind, encoder, .. } = compared;
            let state = bench.state_file(self.name(), compared, &train_sha256, &config);
            let progress = bench.observer().begin(&format!("{}, {kind}", self.name()), "batches");
            let result = finetune(encoder, &images, &config, Some(&state), &progress)?;
            let details = json!({ "train_loss": result.train_loss });
            outcome.results.push(bench.accuracy(*kind, details, &result.predictions, &result.labels));
            outcome.seconds_before_resume += result.seconds_before_resume;
        }
        Ok(outcome)
    }
}
