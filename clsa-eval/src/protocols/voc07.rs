//! Multi-label linear classification on a frozen backbone, as papers report it for PASCAL VOC 2007.

use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind};
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::choice::{Tried, check_choice, nothing_to_choose_by};
use crate::evaluation::{EncoderKind, EncoderResult, Figures};
use crate::features::{FeatureFile, FeatureRows, TEST_CROPS, TRAIN_CROPS, extract_crops_into, finite_rows, presences};
use crate::metrics::{AveragePrecision, average_precision};
use crate::sgd_classifier::{Schedule, SgdClassifier, Targets, check_training};
use candle_core::{Device, Tensor};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Presence, order};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Images of one pass through the encoder.
const BATCH: usize = 128;

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
    pub held_out: Vec<Tried>,
    /// Mean over the images of the last epoch of the cross-entropy summed over classes.
    pub train_loss: f64,
}

/// Trains a linear classifier with one sigmoid output for each class by binary cross-entropy, initialized N(0, 0.01) and
/// 0, on the crops' features of the training images, and applies it to those of the test images. `train` has
/// [`TRAIN_CROPS`] rows for each image and `test` [`TEST_CROPS`], as [`extract_crops_into`] gives them. An image is ignored
/// for a class that it shows only as *difficult* objects. Calls `progress` after each epoch with the epochs that are done
/// in all trainings, and with all.
///
/// # Errors
/// Sizes do not fit, a feature or the loss is not finite, or a setting is out of range.
///
/// # Panics
/// If labels differ in length.
///
/// # Examples
/// ```
/// use clsa_eval::clsa_data::Presence::{Absent, Present};
/// use clsa_eval::features::{Features, TEST_CROPS, TRAIN_CROPS};
/// use clsa_eval::protocols::{Voc07Config, voc07};
///
/// // One feature, positive where the one class is present.
/// let features = |images: &[f32], crops| Features {
///     values: images.iter().flat_map(|x| vec![*x; crops]).collect(),
///     dim: 1,
///     labels: vec![0; images.len() * crops],
/// };
/// let (train, test) = (features(&[1.0, -1.0, 0.8, -0.9], TRAIN_CROPS), features(&[-1.1, 0.7], TEST_CROPS));
/// let labels = [Present, Absent, Present, Absent].map(|presence| [presence].into());
/// let config = Voc07Config { lr: vec![0.3], epochs: 20, ..Voc07Config::default() };
/// let result = voc07(&train, &labels, &test, &config, &|_, _| {})?;
/// assert!(result.scores[1] > result.scores[0]);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn voc07(
    train: &dyn FeatureRows,
    train_labels: &[Arc<[Presence]>],
    test: &dyn FeatureRows,
    config: &Voc07Config,
    progress: &dyn Fn(u64, u64),
) -> Result<Voc07Result, EvalError> {
    check_training(config.epochs, config.batch_size)?;
    check_choice("lr", &config.lr, config.held_out)?;
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

/// Mean over each image's crops of the sigmoid outputs.
fn mean_outputs(classifier: &SgdClassifier, rows: &[f32], dim: usize, crops: usize) -> Result<Vec<f64>, EvalError> {
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
    fn choose(&self) -> Result<(f64, Vec<Tried>), EvalError> {
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
            let score = match self.train(fitted, lr, tried.len())? {
                Some((classifier, _)) => {
                    let scores = mean_outputs(&classifier, &rows, self.dim, TEST_CROPS)?;
                    100.0 * self.mean_average_precision(held_out, &scores)
                }
                None => 0.0,
            };
            tried.push(Tried { value: lr, score });
        }
        Ok((Tried::best(&tried), tried))
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
    fn train(&self, images: &[u32], lr: f64, before: usize) -> Result<Option<(SgdClassifier, f64)>, EvalError> {
        let config = self.config;
        let trainings = if config.lr.len() == 1 { 1 } else { config.lr.len() as u64 + 1 };
        let classifier = SgdClassifier::new(self.labels[0].len(), self.dim, config.seed, &Device::Cpu)?;
        let Voc07Config { epochs, momentum, weight_decay, .. } = *config;
        let schedule = Schedule { epochs, momentum, weight_decay };
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
                let loss = classifier.loss(&features, Targets::Presences(&labels))?;
                if !loss.value.is_finite() {
                    return Ok(None);
                }
                classifier.update(&features, &loss, &update)?;
                sum += loss.value * batch.len() as f64;
            }
            train_loss = sum / images.len() as f64;
            (self.progress)(before as u64 * config.epochs + epoch + 1, trainings * config.epochs);
        }
        Ok(Some((classifier, train_loss)))
    }
}

/// The protocol `voc07`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voc07;

impl Voc07 {
    /// Crops of 300 pixels, and as much around them as the center crop of 224 leaves of 256.
    fn transform(bench: &Workbench<'_>) -> Result<CenterCrop, EvalError> {
        let pixels = |name| -> Result<Option<u32>, EvalError> {
            let fits = |pixels| u32::try_from(pixels).map_err(|_| EvalError::setting(name, pixels, "use fewer pixels"));
            bench.settings().count(name)?.map(fits).transpose()
        };
        let crop = pixels("crop")?.unwrap_or(300);
        let resize = pixels("resize")?.unwrap_or((f64::from(crop) * 256.0 / 224.0).round() as u32);
        Ok(CenterCrop { resize, crop, normalize: bench.transform().normalize })
    }

    /// Features of some crops of each image of a split.
    fn features(
        bench: &Workbench<'_>,
        compared: &ComparedEncoder,
        (split, images, sha256): (&str, &dyn Dataset, &str),
        crops: usize,
    ) -> Result<FeatureFile, EvalError> {
        let transform = Self::transform(bench)?;
        let of = format!("{crops} crops of {} of data {sha256} by {}", json!(transform), compared.sha256);
        let shape = [images.len() * crops, compared.encoder.feature_dim()];
        bench.cached_features((&format!("{split}, {}", compared.kind), "crops"), &of, shape, |sink| {
            extract_crops_into(compared.encoder, images, &transform, crops, BATCH, sink)
        })
    }
}

impl Protocol for Voc07 {
    fn name(&self) -> &str {
        "voc07"
    }

    fn about(&self) -> &str {
        "one sigmoid output for each class on a frozen backbone, binary cross-entropy on the ten crops (corners, center, \
         mirrored) of training images; outputs averaged over five crops of test images; average precision as area and \
         11-point, difficult objects ignored"
    }

    fn needs(&self) -> Needs {
        Needs { features: false, labels: LabelKind::Presences, test_images: true }
    }

    fn settings(&self) -> &[Setting] {
        &[
            Setting { name: "crop", kind: SettingKind::Count, placeholder: "PIXELS", about: "side of the crops (300)" },
            Setting {
                name: "resize",
                kind: SettingKind::Count,
                placeholder: "PIXELS",
                about: "short side after resizing (343)",
            },
            Setting {
                name: "epochs",
                kind: SettingKind::Count,
                placeholder: "EPOCHS",
                about: "passes over the training images, with one of its crops of each (100)",
            },
            Setting {
                name: "lr",
                kind: SettingKind::Positives,
                placeholder: "LR",
                about: "learning rate, or several, of which the best on a fifth of the training images is taken \
                        (0.03,0.1,0.3,1,3,10)",
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
        let (defaults, settings) = (Voc07Config::default(), bench.settings());
        let config = Voc07Config {
            epochs: settings.count("epochs")?.unwrap_or(defaults.epochs),
            lr: settings.numbers("lr")?.unwrap_or_else(|| defaults.lr.clone()),
            batch_size: settings.count("batch-size")?.map_or(defaults.batch_size, |images| images as usize),
            seed: settings.seed(),
            ..defaults
        };
        let (train, test) = (bench.data().train().as_ref(), bench.data().test()?.as_ref());
        let (train_labels, test_labels) = (presences(train)?, presences(test)?);
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        let transform = Self::transform(bench)?;
        outcome.settings["resize"] = json!(transform.resize);
        outcome.settings["crop"] = json!(transform.crop);
        for compared in bench.encoders() {
            let train = ("training", train, bench.train_sha256());
            let test = ("test", test, bench.test_sha256().unwrap_or_default());
            let train = Self::features(bench, compared, train, TRAIN_CROPS)?;
            let test = Self::features(bench, compared, test, TEST_CROPS)?;
            let progress = bench.observer().begin(&format!("{}, {}", self.name(), compared.kind), "epochs");
            let result = voc07(&train, &train_labels, &test, &config, &progress)?;
            let figures = AveragePrecision::of(&result.scores, &test_labels, settings.seed());
            let details = json!({ "lr": result.lr, "held_out": result.held_out, "train_loss": result.train_loss });
            let figures = Figures::AveragePrecision(figures);
            outcome.results.push(EncoderResult { encoder: compared.kind, details, figures });
        }
        let figures = Figures::AveragePrecision(AveragePrecision::of_chance(&test_labels, settings.seed()));
        outcome.results.push(EncoderResult { encoder: EncoderKind::Chance, details: json!({}), figures });
        Ok(outcome)
    }
}
