//! Each protocol, for the trained encoder and what it is compared with.

use super::progress::Progress;
use super::subject::Subject;
use super::{Args, Protocol};
use crate::Failure;
use clsa_data::{Dataset, Presence};
use clsa_eval::{
    Accuracy, AveragePrecision, EncoderResult, EvalError, EvalTransform, FeatureFile, FeatureRows, Figures,
    FinetuneConfig, KnnConfig, Labelled, LinearConfig, LogisticRegressionConfig, Predictions, ProtocolResult,
    RetrievalConfig, RetrievalPrecision, TEST_CROPS, TRAIN_CROPS, TrainingProgress, Voc07Config, center_crops,
    data_hash, extract_crops_into, extract_into, finetune, knn, linear, logistic_regression, raw_pixels_into,
    retrieval, retrieval_chance, retrieval_picture, retrieval_precision, voc07,
};
use clsa_model::Encoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Images of one pass through the encoder.
const BATCH: usize = 128;
/// Larger images are made this small for the baseline of raw pixels.
const RAW_SIDE: u32 = 32;

/// Everything that protocols work on.
pub struct Bench<'a> {
    pub args: &'a Args,
    pub subject: &'a Subject,
    /// `trained` and `untrained`.
    pub encoders: [NamedEncoder<'a>; 2],
    pub train: Images,
    /// There are none where only retrieval is asked for and the source has none.
    pub test: Option<Images>,
    /// Number of classes; 0 where images have not one class.
    pub classes: usize,
    /// Class of each training and each test image, where they have one.
    pub labels: Option<[Vec<u32>; 2]>,
    /// Presence of each class in each training and each test image, for `voc07`.
    pub presences: Option<[Vec<Arc<[Presence]>>; 2]>,
    /// The images whose labels are used, for `finetune`.
    pub labelled: Option<Arc<dyn Dataset>>,
    /// Features of centre crops, made when a protocol first asks for them.
    pub features: Vec<FeatureSet>,
    /// Pictures to be written beside the figures: path and PNG.
    pub pictures: Vec<(PathBuf, Vec<u8>)>,
    /// Seconds of earlier processes that a protocol's trainings were taken over from.
    pub earlier_s: f64,
}

/// An encoder, what its row of a table is called, and its hash.
pub struct NamedEncoder<'a> {
    pub name: &'static str,
    pub encoder: &'a Encoder,
    pub sha256: String,
}

/// The images of a split.
pub struct Images {
    /// `training` or `test`.
    pub split: &'static str,
    pub dataset: Arc<dyn Dataset>,
    pub sha256: String,
}

/// Features of both splits.
pub struct FeatureSet {
    name: &'static str,
    train: FeatureFile,
    test: Option<FeatureFile>,
}

impl Bench<'_> {
    pub fn run(&mut self, protocol: Protocol) -> Result<ProtocolResult, Failure> {
        if protocol.wants_features() && self.features.is_empty() {
            self.features = self.center_crop_features()?;
        }
        let start = Instant::now();
        self.earlier_s = 0.0;
        let (settings, results) = match protocol {
            Protocol::Knn => self.knn()?,
            Protocol::Linear => self.linear()?,
            Protocol::LinearFeatures => self.linear_features()?,
            Protocol::Finetune => self.finetune()?,
            Protocol::Voc07 => self.voc07()?,
            Protocol::Retrieval => self.retrieval()?,
        };
        let wall_time_s = start.elapsed().as_secs_f64() + self.earlier_s;
        let name = match protocol {
            Protocol::Finetune => match &self.args.label_list {
                Some(list) => format!("finetune {}", list.file_name().unwrap_or(list.as_os_str()).display()),
                None => format!("finetune {}", self.args.labels),
            },
            _ => protocol.name().to_owned(),
        };
        Ok(ProtocolResult { protocol: name, settings, results, wall_time_s })
    }

    fn knn(&self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let config: &KnnConfig = &self.subject.knn;
        let mut results = Vec::new();
        for (name, train, test) in self.labelled_features()? {
            let result = knn(train, test, config)?;
            if result.k < config.k && results.is_empty() {
                eprintln!("note: k is {}, the number of training images, not {}", result.k, config.k);
            }
            results.push(self.accuracy(name, json!({ "k": result.k }), &result.predictions, test.labels));
        }
        Ok((json!(config), results))
    }

    fn linear_features(&self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let config = LogisticRegressionConfig { seed: self.args.seed, ..LogisticRegressionConfig::default() };
        let mut results = Vec::new();
        for (name, train, test) in self.labelled_features()? {
            let progress = Progress::new(&format!("linear-features, {name}"), "fits");
            let fits = config.regularization.len() as u64 + 1;
            let result = logistic_regression(train, test, &config, &|done| progress.at(done as u64, fits))?;
            let details = json!({ "regularization": result.regularization, "held_out": result.held_out });
            results.push(self.accuracy(name, details, &result.predictions, test.labels));
        }
        Ok((json!(config), results))
    }

    fn linear(&mut self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let defaults = LinearConfig::default();
        let config = LinearConfig {
            epochs: self.args.epochs.unwrap_or(defaults.epochs),
            lr: if self.args.lr.is_empty() { defaults.lr.clone() } else { self.args.lr.clone() },
            batch_size: self.args.batch_size,
            seed: self.args.seed,
            ..defaults
        };
        let test = self.test()?;
        let (mut results, mut earlier_s) = (Vec::new(), 0.0);
        for NamedEncoder { name, encoder, sha256 } in &self.encoders {
            let state = self.state("linear", sha256, &self.train.sha256, &json!(config));
            tell_of(&state, &format!("linear, {name}"));
            let progress = Progress::new(&format!("linear, {name}"), "batches");
            let told = |at: TrainingProgress| tell(&progress, at);
            let transform = &self.subject.transform;
            let result =
                linear(encoder, &self.train.dataset, test.dataset.as_ref(), transform, &config, Some(&state), &told)?;
            if let Some(loss) = result.train_loss.filter(|loss| *loss > (self.classes as f64).ln()) {
                eprintln!(
                    "note: linear, {name}: the loss of the last epoch is {loss:.1}, above a guess's {:.1}: learning rate {} is too \
                     large for these features; let the best of several be chosen, as in --lr 0.01,0.1,1,10",
                    (self.classes as f64).ln(),
                    result.lr
                );
            }
            let details = json!({ "lr": result.lr, "held_out": result.held_out, "train_loss": result.train_loss });
            results.push(self.accuracy(name, details, &result.predictions, &result.labels));
            earlier_s += result.earlier_s;
        }
        self.earlier_s = earlier_s;
        Ok((json!(config), results))
    }

    fn finetune(&mut self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let defaults = FinetuneConfig::default();
        let config = FinetuneConfig {
            epochs: self.args.epochs.unwrap_or(defaults.epochs),
            lr: self.args.lr.first().copied().unwrap_or(defaults.lr),
            head_lr: self.args.head_lr.unwrap_or(defaults.head_lr),
            batch_size: self.args.batch_size,
            seed: self.args.seed,
            ..defaults
        };
        let (train, test) = (self.labelled.as_ref().unwrap_or(&self.train.dataset), self.test()?);
        let train_sha256 = match &self.labelled {
            Some(labelled) => data_hash(labelled.as_ref(), &|_| {})?,
            None => self.train.sha256.clone(),
        };
        let (mut results, mut earlier_s) = (Vec::new(), 0.0);
        for NamedEncoder { name, encoder, sha256 } in &self.encoders {
            let state = self.state("finetune", sha256, &train_sha256, &json!(config));
            tell_of(&state, &format!("finetune, {name}"));
            let progress = Progress::new(&format!("finetune, {name}"), "batches");
            let told = |at: TrainingProgress| tell(&progress, at);
            let transform = &self.subject.transform;
            let result = finetune(encoder, train, test.dataset.as_ref(), transform, &config, Some(&state), &told)?;
            let details = json!({ "train_loss": result.train_loss });
            results.push(self.accuracy(name, details, &result.predictions, &result.labels));
            earlier_s += result.earlier_s;
        }
        let mut settings = json!(config);
        settings["labels"] = match &self.args.label_list {
            Some(list) => json!(list.display().to_string()),
            None => json!(self.args.labels),
        };
        settings["labelled_samples"] = json!(train.len());
        self.earlier_s = earlier_s;
        Ok((settings, results))
    }

    fn voc07(&self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let defaults = Voc07Config::default();
        let config = Voc07Config {
            epochs: self.args.epochs.unwrap_or(defaults.epochs),
            lr: if self.args.lr.is_empty() { defaults.lr.clone() } else { self.args.lr.clone() },
            batch_size: self.args.batch_size,
            seed: self.args.seed,
            ..defaults
        };
        let transform = self.voc07_transform();
        let Some([train_labels, test_labels]) = &self.presences else {
            return Err(EvalError::Empty("multi-label").into());
        };
        let (test, seed) = (self.test()?, self.args.seed);
        let mut results = Vec::new();
        for NamedEncoder { name, encoder, sha256 } in &self.encoders {
            let features = |images: &Images, crops: usize| {
                let of = format!("{crops} crops of {} of data {} by {sha256}", json!(transform), images.sha256);
                let shape = [images.dataset.len() * crops, encoder.config().feature_dim()];
                self.cached((&format!("{}, {name}", images.split), "crops"), &of, shape, |sink| {
                    extract_crops_into(encoder, images.dataset.as_ref(), &transform, crops, BATCH, sink)
                })
            };
            let (train, test) = (features(&self.train, TRAIN_CROPS)?, features(test, TEST_CROPS)?);
            let progress = Progress::new(&format!("voc07, {name}"), "epochs");
            let result = voc07(&train, train_labels, &test, &config, &|done, all| progress.at(done, all))?;
            let figures = Figures::AveragePrecision(AveragePrecision::of(&result.scores, test_labels, seed));
            let details = json!({ "lr": result.lr, "held_out": result.held_out, "train_loss": result.train_loss });
            results.push(EncoderResult { encoder: (*name).to_owned(), details, figures });
        }
        let figures = Figures::AveragePrecision(AveragePrecision::of_chance(test_labels, seed));
        results.push(EncoderResult { encoder: "chance".to_owned(), details: json!({}), figures });
        let mut settings = json!(config);
        (settings["resize"], settings["crop"]) = (json!(transform.resize), json!(transform.crop));
        Ok((settings, results))
    }

    /// Crops of 300 pixels, and as much around them as the centre crop of 224 leaves of 256.
    fn voc07_transform(&self) -> EvalTransform {
        let crop = self.args.crop.unwrap_or(300);
        let resize = self.args.resize.unwrap_or((f64::from(crop) * 256.0 / 224.0).round() as u32);
        EvalTransform { resize, crop, normalize: self.subject.transform.normalize }
    }

    fn retrieval(&mut self) -> Result<(Value, Vec<EncoderResult>), Failure> {
        let args = self.args;
        let config = RetrievalConfig { queries: args.queries, neighbours: args.neighbours, seed: args.seed };
        // Of one class alone, every neighbour is of the query's: that says nothing.
        let several = |train: &[u32]| train.iter().any(|class| *class != train[0]);
        let labels = self.labels.as_ref().filter(|[train, _]| self.test.is_some() && several(train));
        let (mut results, mut pictures) = (Vec::new(), Vec::new());
        for set in &self.features {
            let test = set.test.as_ref().map(|test| test as &dyn FeatureRows);
            let retrieved = retrieval(&set.train, test, &config)?;
            let mut details = json!({ "retrieved": retrieved });
            if set.name == "trained" {
                let picture = self.subject.out.with_extension("retrieval.png");
                let test = self.test.as_ref().map(|test| test.dataset.as_ref());
                let png = retrieval_picture(self.train.dataset.as_ref(), test, &retrieved)?;
                pictures.push((picture.clone(), png));
                details["picture"] = json!(picture.file_name().unwrap_or_default().to_string_lossy());
            }
            let precision = match (labels, test) {
                (Some([train_labels, test_labels]), Some(test)) => {
                    let train = Labelled { rows: &set.train, labels: train_labels };
                    retrieval_precision(
                        train,
                        Labelled { rows: test, labels: test_labels },
                        args.neighbours,
                        args.seed,
                    )?
                }
                _ => RetrievalPrecision { neighbours: args.neighbours, precision: None },
            };
            results.push(EncoderResult {
                encoder: set.name.to_owned(),
                details,
                figures: Figures::Retrieval(precision),
            });
        }
        if let Some([train, test]) = labels {
            let figures = Figures::Retrieval(retrieval_chance(train, test, args.neighbours));
            results.push(EncoderResult { encoder: "chance".to_owned(), details: json!({}), figures });
        }
        self.pictures.append(&mut pictures);
        Ok((json!(config), results))
    }

    fn accuracy(&self, name: &str, details: Value, predictions: &Predictions, labels: &[u32]) -> EncoderResult {
        let accuracy = Accuracy::of(predictions, labels, self.classes, self.args.seed);
        EncoderResult { encoder: name.to_owned(), details, figures: Figures::Accuracy(accuracy) }
    }

    fn test(&self) -> Result<&Images, Failure> {
        self.test.as_ref().ok_or_else(|| EvalError::Empty("test").into())
    }

    /// Name, training and test features of both encoders and of raw pixels.
    fn labelled_features(&self) -> Result<Vec<(&'static str, Labelled<'_>, Labelled<'_>)>, Failure> {
        let Some([train_labels, test_labels]) = &self.labels else {
            return Err(EvalError::Empty("labelled").into());
        };
        (self.features.iter())
            .map(|set| {
                let test = set.test.as_ref().ok_or(EvalError::Empty("test"))?;
                let train = Labelled { rows: &set.train, labels: train_labels };
                Ok((set.name, train, Labelled { rows: test, labels: test_labels }))
            })
            .collect()
    }

    fn center_crop_features(&self) -> Result<Vec<FeatureSet>, Failure> {
        let transform = &self.subject.transform;
        let mut sets = Vec::new();
        for NamedEncoder { name, encoder, sha256 } in &self.encoders {
            let features = |images: &Images| {
                let of = center_crops(transform, &images.sha256, sha256);
                let indices: Vec<usize> = (0..images.dataset.len()).collect();
                let shape = [indices.len(), encoder.config().feature_dim()];
                self.cached((&format!("{}, {name}", images.split), "images"), &of, shape, |sink| {
                    extract_into(encoder, images.dataset.as_ref(), &indices, transform, BATCH, sink)
                })
            };
            let (train, test) = (features(&self.train)?, self.test.as_ref().map(features).transpose()?);
            sets.push(FeatureSet { name, train, test });
        }
        let side = transform.crop.min(RAW_SIDE);
        let pixels = |images: &Images| {
            let of = format!("pixels of {side} x {side} of data {}", images.sha256);
            let indices: Vec<usize> = (0..images.dataset.len()).collect();
            let shape = [indices.len(), 3 * side as usize * side as usize];
            self.cached((&format!("{}, pixels", images.split), "images"), &of, shape, |sink| {
                raw_pixels_into(images.dataset.as_ref(), &indices, side, sink)
            })
        };
        let (train, test) = (pixels(&self.train)?, self.test.as_ref().map(pixels).transpose()?);
        sets.push(FeatureSet { name: "raw pixels", train, test });
        Ok(sets)
    }

    fn cached(
        &self,
        (what, unit): (&str, &'static str),
        of: &str,
        [rows, dim]: [usize; 2],
        make: impl FnOnce(&mut dyn FnMut(&[f32]) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<FeatureFile, Failure> {
        let progress = Progress::new(what, unit);
        let warn = |error: EvalError| eprintln!("warning: {error}; they are made anew");
        let mut done = 0;
        let folder = self.subject.cache.join("features");
        Ok(FeatureFile::open_or_make(&folder, of, [rows, dim], &warn, |sink| {
            make(&mut |values| {
                done += values.len() / dim;
                progress.at(done as u64, rows as u64);
                sink(values)
            })
        })?)
    }

    /// The file that keeps an interrupted training on this encoder, data and settings.
    fn state(&self, protocol: &str, encoder_sha256: &str, data_sha256: &str, config: &Value) -> PathBuf {
        let key = json!([encoder_sha256, data_sha256, self.subject.transform, config]).to_string();
        let key: String = Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.subject.cache.join(protocol).join(format!("{key}.safetensors"))
    }
}

fn tell_of(state: &Path, what: &str) {
    if state.exists() {
        eprintln!("note: {what}: goes on from {}", state.display());
    }
}

fn tell(progress: &Progress, at: TrainingProgress) {
    let batches = at.batches as u64;
    progress.at(at.epoch * batches + at.batch as u64, at.epochs * batches);
}
