//! The linear protocol of the paper: a classifier on a frozen backbone, trained with random crops and flips.

mod config;
mod training;

pub use config::LinearConfig;

use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::{Setting, SettingKind};
use super::train_test::TrainTest;
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::choice::{Tried, check_choice};
use crate::features::check_labels;
use crate::metrics::Predictions;
use crate::sgd_classifier::check_training;
use clsa_model::Encoder;
use serde_json::json;
use std::path::Path;
use training::{Choice, Trained, Training};

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
/// the same features, and kept in a second file whose name ends in `.sweep.safetensors`. The files hold the state for
/// exactly this encoder, data and settings; name them after these.
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
                about: "learning rate (10); of several, as in 1,3,10, the best on a held-out fifth of each class's training \
                        images is used to train on all",
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
