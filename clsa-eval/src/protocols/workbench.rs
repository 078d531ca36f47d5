//! What protocols work on: encoders, images and settings.

use super::data::EvalData;
use super::feature_set::FeatureSet;
use super::settings::Settings;
use crate::evaluation::{Chance, EncoderKind, EncoderResult, Evaluation, Figures};
use crate::hashes::{data_hash, encoder_hash, joined_hash};
use crate::metrics::{Accuracy, Predictions};
use crate::{EvalError, Observer};
use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use clsa_model::Encoder;
use serde_json::Value;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// What a [`Workbench`] is made of.
pub struct WorkbenchConfig<'a> {
    /// The encoder that is evaluated.
    pub trained: &'a Encoder,
    /// One of the same shape that was not trained; without it the trained one stands alone beside chance, and raw pixels are left out
    /// too.
    pub untrained: Option<&'a Encoder>,
    /// The images.
    pub data: EvalData,
    /// How test images are cut, and all are normalized.
    pub transform: CenterCrop,
    /// The settings of the protocols.
    pub settings: Settings,
    /// The folder in which features and interrupted trainings are kept.
    pub cache: PathBuf,
}

/// What protocols work on, and what they share.
///
/// # Examples
/// ```
/// use clsa_eval::Silent;
/// use clsa_eval::candle_core::Device;
/// use clsa_eval::clsa_augment::CenterCrop;
/// use clsa_eval::clsa_data::{Limits, Source};
/// use clsa_eval::clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
/// use clsa_eval::protocols::{EvalData, SettingValue, Settings, Workbench, WorkbenchConfig, check, named};
///
/// let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
/// let encoder = |seed| Encoder::new(&model, Compute::default(), seed, &Device::Cpu);
/// let source: Source = "procedural:classes=3,train=30,test=12,side=16".parse()?;
/// let splits = source.open_splits(Limits::default())?;
/// let data = EvalData::new(splits.train, splits.test.ok());
/// let settings = Settings::new(0).with("k", SettingValue::Count(5));
/// let knn = named("knn").expect("a protocol of this crate");
/// check(&[knn], &data, &settings)?;
///
/// # let folder = tempfile::tempdir()?;
/// # let cache = folder.path().to_owned();
/// let (trained, untrained) = (encoder(1)?, encoder(0)?);
/// let transform = CenterCrop::new(16, 16);
/// let config = WorkbenchConfig { trained: &trained, untrained: Some(&untrained), data, transform, settings, cache };
/// let bench = Workbench::new(config, &Silent)?;
/// let mut evaluation = bench.evaluation("encoder.safetensors", &source.to_string());
/// evaluation.protocols.extend(bench.run(knn)?.results);
/// println!("{}", evaluation.table());
/// # assert!(evaluation.table().contains("raw pixels"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Workbench<'a> {
    /// The trained one is the first.
    encoders: Vec<ComparedEncoder<'a>>,
    data: EvalData,
    train_sha256: String,
    test_sha256: Option<String>,
    transform: CenterCrop,
    settings: Settings,
    pub(super) cache: PathBuf,
    evaluation_file: PathBuf,
    observer: &'a dyn Observer,
    /// Made when a protocol first needs them.
    pub(super) features: OnceCell<Vec<FeatureSet>>,
}

/// The trained or the untrained encoder.
#[derive(Clone)]
pub struct ComparedEncoder<'a> {
    /// Which of them it is.
    pub kind: EncoderKind,
    /// The encoder.
    pub encoder: &'a Encoder,
    /// [`encoder_hash`] of it.
    pub sha256: String,
}

impl<'a> Workbench<'a> {
    /// Hashes the encoders and all images.
    ///
    /// # Errors
    /// An image cannot be read, or a tensor operation fails.
    pub fn new(config: WorkbenchConfig<'a>, observer: &'a dyn Observer) -> Result<Self, EvalError> {
        let WorkbenchConfig { trained, untrained, data, transform, settings, cache } = config;
        let hash = |split: &str, images: &dyn Dataset| {
            let progress = observer.begin(&format!("{split} images, content"), "images");
            data_hash(images, &progress)
        };
        let compared = |kind, encoder| -> Result<ComparedEncoder<'a>, EvalError> {
            Ok(ComparedEncoder { kind, encoder, sha256: encoder_hash(encoder)? })
        };
        let mut encoders = vec![compared(EncoderKind::Trained, trained)?];
        if let Some(untrained) = untrained {
            encoders.push(compared(EncoderKind::Untrained, untrained)?);
        }
        Ok(Self {
            train_sha256: hash("training", data.train().as_ref())?,
            test_sha256: data.test().ok().map(|test| hash("test", test.as_ref())).transpose()?,
            encoders,
            data,
            transform,
            settings,
            cache,
            evaluation_file: "eval.json".into(),
            observer,
            features: OnceCell::new(),
        })
    }

    /// Says where the evaluation will be written: pictures beside it are named after it. Otherwise `eval.json`.
    pub fn set_evaluation_file(&mut self, path: &Path) {
        self.evaluation_file = path.to_owned();
    }

    /// An evaluation of the weights and the data set of these names, without any protocol yet.
    pub fn evaluation(&self, weights: &str, data: &str) -> Evaluation {
        Evaluation {
            weights: weights.to_owned(),
            encoder_sha256: self.encoders[0].sha256.clone(),
            stage: self.encoders[0].encoder.feature_stage().clone(),
            data: data.to_owned(),
            data_sha256: joined_hash([Some(&self.train_sha256), self.test_sha256.as_ref()].into_iter().flatten()),
            classes: self.data.train().class_names().to_vec(),
            train_samples: self.data.train().len(),
            test_samples: self.data.test().map_or(0, |test| test.len()),
            transform: self.transform,
            chance: self.data.labels().is_ok().then(|| Chance::of(self.data.classes())),
            protocols: Vec::new(),
        }
    }

    /// The trained encoder and, where it is compared with, the untrained one.
    pub fn encoders(&self) -> &[ComparedEncoder<'a>] {
        &self.encoders
    }

    /// Whether the trained encoder is compared with the untrained one and raw pixels.
    pub(super) fn has_baselines(&self) -> bool {
        self.encoders.len() > 1
    }

    /// The images.
    pub fn data(&self) -> &EvalData {
        &self.data
    }

    /// [`data_hash`] of the training images.
    pub fn train_sha256(&self) -> &str {
        &self.train_sha256
    }

    /// [`data_hash`] of the test images, where there are some.
    pub fn test_sha256(&self) -> Option<&str> {
        self.test_sha256.as_deref()
    }

    /// How test images are cut, and all are normalized.
    pub fn transform(&self) -> &CenterCrop {
        &self.transform
    }

    /// The settings of the protocols.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Receives progress, notes and warnings.
    pub fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// The name of a picture beside the evaluation, `NAME.KIND.png`.
    pub fn picture_name(&self, kind: &str) -> String {
        let path = self.evaluation_file.with_extension(format!("{kind}.png"));
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A row of figures for a protocol that names classes.
    pub fn accuracy(&self, kind: EncoderKind, details: Value, named: &Predictions, labels: &[u32]) -> EncoderResult {
        let accuracy = Accuracy::of(named, labels, self.data.classes(), self.settings.seed());
        EncoderResult { encoder: kind, details, figures: Figures::Accuracy(accuracy) }
    }
}
