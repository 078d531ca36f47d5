//! What a protocol is.

use super::data::EvalData;
use super::settings::{Setting, Settings};
use super::workbench::Workbench;
use crate::EvalError;
use crate::evaluation::EncoderResult;
use clsa_data::Label;
use serde_json::Value;

/// A way to say what an encoder's features are worth.
///
/// Those of this crate are in the table [`PROTOCOLS`](super::PROTOCOLS), from which command lines, messages, the report's
/// order and the README's table are made. One of your own is run by [`Workbench::run`] as they are.
///
/// # Examples
/// A classifier by the nearest mean of a class, on features of center crops:
/// ```
/// use clsa_eval::EvalError;
/// use clsa_eval::features::FeatureRows;
/// use clsa_eval::metrics::Predictions;
/// use clsa_eval::protocols::{LabelKind, Needs, Outcome, Protocol, Workbench};
/// use serde_json::json;
///
/// struct NearestMean;
///
/// impl Protocol for NearestMean {
///     fn name(&self) -> &str {
///         "nearest-mean"
///     }
///
///     fn about(&self) -> &str {
///         "the class whose mean feature is nearest"
///     }
///
///     fn needs(&self) -> Needs {
///         Needs { features: true, labels: LabelKind::OneClass, test_images: true }
///     }
///
///     fn run(&self, bench: &Workbench) -> Result<Outcome, EvalError> {
///         let mut outcome = Outcome::default();
///         for set in bench.labeled_features()? {
///             let (dim, train) = (set.train.rows.dim(), set.train.rows.rows(0..set.train.labels.len())?);
///             let mut means = vec![vec![0.0; dim]; bench.data().classes()];
///             for (row, &class) in train.chunks_exact(dim).zip(set.train.labels) {
///                 let count = set.train.labels.iter().filter(|other| **other == class).count();
///                 means[class as usize].iter_mut().zip(row).for_each(|(m, x)| *m += x / count as f32);
///             }
///             let distance = |mean: &[f32], row: &[f32]| mean.iter().zip(row).map(|(m, x)| (m - x).powi(2)).sum::<f32>();
///             let test = set.test.rows.rows(0..set.test.labels.len())?;
///             let scores = test.chunks_exact(dim).flat_map(|row| means.iter().map(|mean| -f64::from(distance(mean, row))));
///             let predictions = Predictions::from_scores(&scores.collect::<Vec<_>>(), means.len());
///             outcome.results.push(bench.accuracy(set.kind, json!({}), &predictions, set.test.labels));
///         }
///         Ok(outcome)
///     }
/// }
/// ```
pub trait Protocol: Sync {
    /// Its name, without spaces: in lists, in `eval.json` and in the report.
    fn name(&self) -> &str;

    /// What it does, in one line without a full stop.
    fn about(&self) -> &str;

    /// What it needs.
    fn needs(&self) -> Needs;

    /// The settings that it reads from [`Workbench::settings`]. One that names `crop` cuts images by sides of its own; all others
    /// cut them by [`Workbench::transform`].
    fn settings(&self) -> &[Setting] {
        &[]
    }

    /// Whether it cuts images by sides of its own, and not by [`Workbench::transform`].
    fn has_own_sides(&self) -> bool {
        self.settings().iter().any(|setting| setting.name == "crop")
    }

    /// Whether it changes the backbone: its figures are then not those of frozen features.
    fn trains_backbone(&self) -> bool {
        false
    }

    /// Checks the settings, before anything is read.
    ///
    /// # Errors
    /// A setting is out of range.
    fn check_settings(&self, settings: &Settings) -> Result<(), EvalError> {
        let _ = settings;
        Ok(())
    }

    /// Checks what can be seen of the images without reading any, beyond what [`Protocol::needs`] says.
    ///
    /// # Errors
    /// Images or settings do not suit it.
    fn check_data(&self, data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
        let _ = (data, settings);
        Ok(())
    }

    /// Evaluates the encoders of the workbench.
    ///
    /// # Errors
    /// An image cannot be read, a setting is out of range, or a computation fails.
    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError>;
}

/// What a protocol needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Features of center crops, which protocols share.
    pub features: bool,
    /// How the images must be labeled.
    pub labels: LabelKind,
    /// Whether there must be test images.
    pub test_images: bool,
}

/// How images are labeled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelKind {
    /// In any way, or not at all.
    Any,
    /// With one class each.
    OneClass,
    /// With the presence of every class.
    Presences,
}

impl LabelKind {
    /// Whether a label is of this kind.
    pub fn suits(self, label: &Label) -> bool {
        match (self, label) {
            (Self::Any, _) | (Self::OneClass, Label::Class(_)) | (Self::Presences, Label::Multi(_)) => true,
            (Self::OneClass | Self::Presences, Label::None)
            | (Self::OneClass, Label::Multi(_))
            | (Self::Presences, Label::Class(_)) => false,
        }
    }
}

/// What a protocol found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Which of several variants of the protocol it is: that of other settings stays beside it in `eval.json`.
    pub variant: Option<String>,
    /// The settings that were given or defaults.
    pub settings: Value,
    /// Figures of each encoder.
    pub results: Vec<EncoderResult>,
    /// Further variants that the same work gave.
    pub further: Vec<Variant>,
    /// Pictures to be written beside the figures.
    pub pictures: Vec<Picture>,
    /// Seconds that earlier processes took for trainings that were gone on with.
    pub seconds_before_resume: f64,
}

/// A further variant of a protocol, found by the same work as the first.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// Its name, by which it stands beside the others in `eval.json`.
    pub name: String,
    /// The settings that were given or defaults.
    pub settings: Value,
    /// Figures of each encoder.
    pub results: Vec<EncoderResult>,
}

/// A picture to be written beside the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its name, from [`Workbench::picture_name`].
    pub file_name: String,
    /// The file's content.
    pub png: Vec<u8>,
}
