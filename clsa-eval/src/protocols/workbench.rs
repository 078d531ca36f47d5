//! What protocols work on: encoders, images, settings, and the folder of features and interrupted trainings.

use super::data::EvalData;
use super::settings::Settings;
use crate::evaluation::{Chance, EncoderKind, EncoderResult, Evaluation, Figures};
use crate::features::{FeatureFile, Labeled, center_crops_key, extract_into, raw_pixels_into};
use crate::hashes::{data_hash, encoder_hash, joined_hash};
use crate::metrics::{Accuracy, Predictions};
use crate::{EvalError, Observer};
use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use clsa_model::Encoder;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Images of one pass through the encoder.
const BATCH: usize = 128;
/// Larger images are made this small for the baseline of raw pixels.
const RAW_SIDE: u32 = 32;

/// What a [`Workbench`] is made of.
pub struct WorkbenchConfig<'a> {
    /// The encoder that is evaluated.
    pub trained: &'a Encoder,
    /// One of the same shape that was not trained.
    pub untrained: &'a Encoder,
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
/// let config = WorkbenchConfig { trained: &trained, untrained: &untrained, data, transform, settings, cache };
/// let bench = Workbench::new(config, &Silent)?;
/// let mut evaluation = bench.evaluation("encoder.safetensors", &source.to_string());
/// evaluation.protocols.push(bench.run(knn)?.result);
/// println!("{}", evaluation.table());
/// # assert!(evaluation.table().contains("raw pixels"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Workbench<'a> {
    encoders: [ComparedEncoder<'a>; 2],
    data: EvalData,
    train_sha256: String,
    test_sha256: Option<String>,
    transform: CenterCrop,
    settings: Settings,
    cache: PathBuf,
    evaluation_file: PathBuf,
    observer: &'a dyn Observer,
    /// Made when a protocol first needs them.
    features: OnceCell<Vec<FeatureSet>>,
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

/// Features of center crops of both splits.
#[derive(Debug)]
pub struct FeatureSet {
    /// What made them.
    pub kind: EncoderKind,
    /// Of the training images.
    pub train: FeatureFile,
    /// Of the test images, where there are some.
    pub test: Option<FeatureFile>,
}

/// Features of center crops of both splits, and the class of each image.
#[derive(Clone, Copy)]
pub struct LabeledFeatures<'a> {
    /// What made them.
    pub kind: EncoderKind,
    /// Of the training images.
    pub train: Labeled<'a>,
    /// Of the test images.
    pub test: Labeled<'a>,
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
        Ok(Self {
            train_sha256: hash("training", data.train().as_ref())?,
            test_sha256: data.test().ok().map(|test| hash("test", test.as_ref())).transpose()?,
            encoders: [compared(EncoderKind::Trained, trained)?, compared(EncoderKind::Untrained, untrained)?],
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

    /// The trained and the untrained encoder.
    pub fn encoders(&self) -> &[ComparedEncoder<'a>; 2] {
        &self.encoders
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

    /// Who is told how the work goes on.
    pub fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// The name of a picture beside the evaluation, `NAME.KIND.png`.
    pub fn picture_name(&self, kind: &str) -> String {
        let path = self.evaluation_file.with_extension(format!("{kind}.png"));
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Features of center crops by both encoders, and raw pixels, in the order of [`EncoderKind::ALL`].
    ///
    /// # Errors
    /// An image cannot be read, an encoder fails, or the folder of features cannot be written.
    pub fn features(&self) -> Result<&[FeatureSet], EvalError> {
        if let Some(made) = self.features.get() {
            return Ok(made);
        }
        let made = self.center_crop_features()?;
        Ok(self.features.get_or_init(|| made))
    }

    /// As [`Workbench::features`], with the class of each image.
    ///
    /// # Errors
    /// Also if there are no test images, or an image has not exactly one class.
    pub fn labeled_features(&self) -> Result<Vec<LabeledFeatures<'_>>, EvalError> {
        let labels = self.data.labels()?;
        (self.features()?.iter())
            .map(|set| {
                let test = set.test.as_ref().ok_or(EvalError::Empty("test"))?;
                let train = Labeled { rows: &set.train, labels: &labels.train };
                Ok(LabeledFeatures { kind: set.kind, train, test: Labeled { rows: test, labels: &labels.test } })
            })
            .collect()
    }

    /// A row of figures for a protocol that names classes.
    pub fn accuracy(&self, kind: EncoderKind, details: Value, named: &Predictions, labels: &[u32]) -> EncoderResult {
        let accuracy = Accuracy::of(named, labels, self.data.classes(), self.settings.seed());
        EncoderResult { encoder: kind, details, figures: Figures::Accuracy(accuracy) }
    }

    /// Features from the file in the cache that is named by the text `of`, or made by `make` as
    /// [`FeatureFile::open_or_make`] says. `work` and `unit` are for the observer.
    ///
    /// # Errors
    /// Those of `make`, or the folder cannot be written.
    pub fn cached_features(
        &self,
        (work, unit): (&str, &'static str),
        of: &str,
        [rows, dim]: [usize; 2],
        make: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<FeatureFile, EvalError> {
        let progress = self.observer.begin(work, unit);
        let warn = |error: EvalError| self.observer.warning(&format!("{error}; they are made anew"));
        let mut done = 0;
        FeatureFile::open_or_make(&self.cache.join("features"), of, [rows, dim], &warn, |sink| {
            make(&mut |values| {
                done += values.len() / dim;
                progress(done as u64, rows as u64);
                sink(values)
            })
        })
    }

    /// The file that keeps an interrupted training of the protocol of this name on this encoder, these training images and this
    /// configuration. Where it is there already, the observer gets a note that the training goes on from it.
    pub fn state_file(
        &self,
        protocol: &str,
        encoder: &ComparedEncoder,
        train_sha256: &str,
        config: &impl Serialize,
    ) -> PathBuf {
        let key = json!([encoder.sha256, train_sha256, self.transform, config]).to_string();
        let key = base16ct::lower::encode_string(&Sha256::digest(key)[..8]);
        let state = self.cache.join(protocol).join(format!("{key}.safetensors"));
        if state.exists() {
            self.observer.note(&format!("{protocol}, {}: goes on from {}", encoder.kind, state.display()));
        }
        state
    }

    fn center_crop_features(&self) -> Result<Vec<FeatureSet>, EvalError> {
        let mut sets = Vec::new();
        for compared in &self.encoders {
            sets.push(self.both_splits(compared.kind, |split, images, sha256| {
                let of = center_crops_key(&self.transform, sha256, &compared.sha256);
                let indices: Vec<usize> = (0..images.len()).collect();
                let shape = [indices.len(), compared.encoder.feature_dim()];
                self.cached_features((&format!("{split}, {}", compared.kind), "images"), &of, shape, |sink| {
                    extract_into(compared.encoder, images, &indices, &self.transform, BATCH, sink)
                })
            })?);
        }
        let side = self.transform.crop.min(RAW_SIDE);
        sets.push(self.both_splits(EncoderKind::RawPixels, |split, images, sha256| {
            let of = format!("pixels of {side} x {side} of data {sha256}");
            let indices: Vec<usize> = (0..images.len()).collect();
            let shape = [indices.len(), 3 * side as usize * side as usize];
            self.cached_features((&format!("{split}, pixels"), "images"), &of, shape, |sink| {
                raw_pixels_into(images, &indices, side, sink)
            })
        })?);
        Ok(sets)
    }

    /// Features of each split, made from its name, images and hash.
    fn both_splits(
        &self,
        kind: EncoderKind,
        make: impl Fn(&str, &dyn Dataset, &str) -> Result<FeatureFile, EvalError>,
    ) -> Result<FeatureSet, EvalError> {
        let train = make("training", self.data.train().as_ref(), &self.train_sha256)?;
        let test = match (self.data.test(), &self.test_sha256) {
            (Ok(test), Some(sha256)) => Some(make("test", test.as_ref(), sha256)?),
            (Ok(_) | Err(_), _) => None,
        };
        Ok(FeatureSet { kind, train, test })
    }
}
