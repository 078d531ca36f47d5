//! The training of linear classifiers on a frozen backbone, one or several at once.

use super::config::LinearConfig;
use crate::EvalError;
use crate::choice::{Tried, nothing_to_choose_by};
use crate::features::{all_labels, extract};
use crate::metrics::Predictions;
use crate::protocols::train_test::TrainTest;
use crate::random_crops::{images, random_crops};
use crate::resumable::Resumable;
use crate::sgd_classifier::{SgdClassifier, SgdSchedule};
use crate::stratified::hold_out;
use crate::subset::Subset;
use candle_core::{DType, Device, Tensor, Var};
use clsa_data::{Dataset, Label, LoaderConfig, OnError};
use clsa_model::Encoder;
use std::path::Path;
use std::sync::Arc;

/// What the choice of the learning rate and the training with it have in common.
pub(super) struct Training<'a> {
    pub encoder: &'a Encoder,
    pub images: &'a TrainTest,
    pub config: &'a LinearConfig,
    pub classes: usize,
    pub progress: &'a dyn Fn(u64, u64),
    /// Epochs of earlier trainings, for the progress.
    pub epochs_before: u64,
}

/// A learning rate and what it was chosen by.
pub(super) struct Choice {
    pub lr: f64,
    /// Top-1 accuracy on held-out images by learning rate.
    pub held_out: Vec<Tried>,
    pub seconds_before_resume: f64,
}

/// What a training gives.
pub(super) struct Trained {
    /// One for each learning rate.
    pub candidates: Vec<Candidate>,
    /// Mean loss of the first of them in the last epoch.
    pub loss: Option<f64>,
    pub seconds_before_resume: f64,
}

/// A classifier in training at a learning rate of its own.
pub(super) struct Candidate {
    classifier: SgdClassifier,
    lr: f64,
    /// The epoch in which the loss or a weight was first not finite, or -1; a variable, so that the state keeps it.
    diverged: Var,
}

impl Candidate {
    pub fn diverged_in(&self) -> Result<Option<u64>, EvalError> {
        Ok(u64::try_from(self.diverged.to_vec1::<i64>()?[0]).ok())
    }

    fn set_diverged(&self, epoch: u64) -> Result<(), EvalError> {
        Ok(self.diverged.set(&Tensor::new(&[epoch as i64], self.diverged.device())?)?)
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
        schedule: SgdSchedule,
        epoch: u64,
    ) -> Result<Option<f64>, EvalError> {
        if self.diverged_in()?.is_some() {
            return Ok(None);
        }
        let loss = self.classifier.cross_entropy(features, labels)?;
        let value = loss.value()?;
        if !value.is_finite() {
            self.set_diverged(epoch)?;
        }
        self.classifier.update(features, &loss, &schedule.update(self.lr, epoch))?;
        Ok(Some(value))
    }
}

impl Training<'_> {
    /// Trains a classifier with each learning rate on a part of the training images and takes the best on the others.
    pub fn choose(&mut self, state: Option<&Path>) -> Result<Choice, EvalError> {
        let (config, train) = (self.config, &self.images.train);
        let labels = all_labels(train.as_ref())?;
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
    pub fn train(&self, train: Arc<dyn Dataset>, lrs: &[f64], state: Option<&Path>) -> Result<Trained, EvalError> {
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
        let LinearConfig { epochs, momentum, weight_decay, .. } = *config;
        let schedule = SgdSchedule { epochs, momentum, weight_decay };
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
            for candidate in &candidates {
                if candidate.diverged_in()?.is_none() && !candidate.classifier.is_finite()? {
                    candidate.set_diverged(epoch)?;
                }
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
    pub fn scores(&self, candidates: &[Candidate], test: &dyn Dataset) -> Result<(Vec<Vec<f64>>, Vec<u32>), EvalError> {
        let indices: Vec<usize> = (0..test.len()).collect();
        let (transform, batch_size) = (&self.images.transform, self.config.batch_size);
        let features = extract(self.encoder, test, &indices, transform, batch_size, &|_, _| {})?;
        features.check("test")?;
        let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), self.encoder.device())?;
        let scores = candidates.iter().map(|candidate| candidate.classifier.scores(&rows));
        Ok((scores.collect::<Result<_, _>>()?, features.labels))
    }
}
