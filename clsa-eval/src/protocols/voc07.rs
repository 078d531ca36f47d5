//! Multi-label linear classification on a frozen backbone, as papers report it for PASCAL VOC 2007.

mod config;
mod training;

pub use config::Voc07Config;

use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind, Settings};
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::choice::{Tried, check_choice};
use crate::evaluation::{EncoderKind, EncoderResult, Figures};
use crate::features::{
    CornersAndCenter, FeatureFile, FeatureRows, FeatureShape, TEST_CROPS, TRAIN_CROPS, batch_of_side,
    extract_crops_into, finite_rows, images_of_pass, presences,
};
use crate::metrics::AveragePrecision;
use crate::sgd_classifier::check_training;
use clsa_augment::{CenterCrop, MAX_SIDE};
use clsa_data::{Dataset, Presence};
use serde_json::json;
use std::sync::Arc;
use training::{Training, mean_outputs};

/// Side of the crops where none is given, pixels.
const CROP: u32 = 300;

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
    if !test.len().is_multiple_of(TEST_CROPS) {
        let expected = test.len().next_multiple_of(TEST_CROPS);
        return Err(EvalError::Size { what: "the features of the test crops", got: test.len(), expected });
    }
    if train.dim() == 0 || train.dim() != test.dim() {
        return Err(EvalError::Size { what: "a test feature", got: test.dim(), expected: train.dim().max(1) });
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
    let (classifier, train_loss) = training.train(&all, lr, held_out.len())?;
    let scores = mean_outputs(&classifier, &finite_rows("test", test, 0, test.len())?, test.dim())?;
    Ok(Voc07Result { scores, lr, held_out, train_loss })
}

/// The protocol `voc07`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voc07;

impl Voc07 {
    /// The sides `(resize, crop)`: crops of 300 pixels, and as much around them as the center crop of 224 leaves of 256.
    fn sides(settings: &Settings) -> Result<(u32, u32), EvalError> {
        let pixels = |name| -> Result<Option<u32>, EvalError> {
            let fits = |pixels| match u32::try_from(pixels) {
                Ok(pixels) if pixels <= MAX_SIDE => Ok(pixels),
                Ok(_) | Err(_) => Err(EvalError::setting(name, pixels, format!("use at most {MAX_SIDE} pixels"))),
            };
            settings.count(name)?.map(fits).transpose()
        };
        match (pixels("resize")?, pixels("crop")?) {
            (Some(resize), Some(crop)) if crop > resize => {
                let expected = format!("voc07 cuts from images resized to {resize} (resize); use 1 to {resize} pixels");
                Err(EvalError::setting("crop", crop, expected))
            }
            (Some(resize), None) if CROP > resize => {
                let expected = format!("voc07 cuts crops of {CROP} pixels; use at least as many, or a smaller crop");
                Err(EvalError::setting("resize", resize, expected))
            }
            (resize, crop) => {
                let crop = crop.unwrap_or(CROP);
                let usual = (f64::from(crop) * 256.0 / 224.0).round() as u32;
                // A crop near the limit has less around it.
                Ok((resize.unwrap_or(usual.min(MAX_SIDE)), crop))
            }
        }
    }

    fn transform(bench: &Workbench<'_>) -> Result<CenterCrop, EvalError> {
        let (resize, crop) = Self::sides(bench.settings())?;
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
        let indices: Vec<usize> = (0..images.len()).collect();
        let batch = batch_of_side(transform.crop);
        let shape = FeatureShape {
            rows: images.len() * crops,
            dim: compared.encoder.feature_dim(),
            block: images_of_pass(batch, crops) * crops,
        };
        bench.cached_features((&format!("{split}, {}", compared.kind), "crops"), &of, shape, |done, sink| {
            let of_each = CornersAndCenter { transform: &transform, count: crops };
            extract_crops_into(compared.encoder, images, &indices[done / crops..], of_each, batch, sink)
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
                about: "short side after resizing (8/7 of the side of the crops: 343 for 300)",
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

    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        Self::sides(settings).map(|_| ())
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

#[cfg(test)]
mod tests {
    use super::super::settings::SettingValue;
    use super::*;

    #[test]
    fn sides_that_do_not_fit_each_other_are_refused_before_anything_is_read() {
        let sides = |given: &[(&'static str, u64)]| {
            let with = |settings: Settings, &(name, pixels): &_| settings.with(name, SettingValue::Count(pixels));
            let settings = given.iter().fold(Settings::new(0), with);
            Voc07
                .check_settings(&settings)
                .map_err(|error| error.to_string())
                .and_then(|()| Voc07::sides(&settings).map_err(|error| error.to_string()))
        };
        assert_eq!(sides(&[]), Ok((343, 300)));
        assert_eq!(sides(&[("crop", 300)]), Ok((343, 300)));
        assert_eq!(sides(&[("crop", 224)]), Ok((256, 224)));
        assert_eq!(sides(&[("resize", 20), ("crop", 16)]), Ok((20, 16)));
        for (given, what) in [
            (&[("resize", 256)][..], "resize is 256: voc07 cuts crops of 300 pixels"),
            (&[("resize", 20), ("crop", 21)], "crop is 21: voc07 cuts from images resized to 20"),
            (&[("crop", u64::MAX)], "use at most 16384 pixels"),
        ] {
            let error = sides(given).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
