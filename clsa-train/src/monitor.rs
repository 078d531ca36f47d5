//! The k-NN monitor: accuracy of frozen features on a fixed subset, before, during and after training.

use crate::error::{Result, TrainError};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Label, OnError};
use clsa_eval::features::extract;
use clsa_eval::protocols::{KnnConfig, KnnResult, knn};
use clsa_eval::{EvalError, random_subset};
use clsa_model::Encoder;
use clsa_run::Config;
use rayon::prelude::*;
use std::sync::Arc;

/// Images per forward pass of the monitor.
const BATCH: usize = 64;

/// The subset and its settings.
pub struct KnnMonitor {
    train: Arc<dyn Dataset>,
    test: Arc<dyn Dataset>,
    train_indices: Vec<usize>,
    test_indices: Vec<usize>,
    transform: CenterCrop,
    knn: KnnConfig,
    on_error: OnError,
    max_bad_fraction: f64,
}

impl KnnMonitor {
    /// Draws the subset by the run's seed.
    ///
    /// # Errors
    /// The data have no labels.
    pub fn new(config: &Config, train: Arc<dyn Dataset>, test: Arc<dyn Dataset>) -> Result<Self> {
        let seed = config.train.seed;
        let knn = KnnConfig { k: config.knn.k, temperature: config.knn.temperature };
        let normalize = config.views.key.normalize;
        let transform = CenterCrop { resize: config.eval.resize, crop: config.eval.crop, normalize };
        let train_indices = subset(train.as_ref(), config.knn.train_samples, seed);
        let test_indices = subset(test.as_ref(), config.knn.test_samples, seed);
        let (on_error, max_bad_fraction) = (config.data.on_error, config.data.max_bad_fraction);
        Ok(Self { train, test, train_indices, test_indices, transform, knn, on_error, max_bad_fraction })
    }

    /// k-NN accuracy of an encoder. Where `data.on_error` is `skip`, images that cannot be read are left out of the subset
    /// from then on, and `warn` is called with a sentence about each.
    ///
    /// # Errors
    /// An image cannot be read and `data.on_error` is `stop`, or more of them than `data.max_bad_fraction` of the subset.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<KnnResult> {
        match self.accuracy(encoder) {
            Err(TrainError::Eval(error)) if self.skips(&error) => {
                leave_out_bad("k-NN monitor", &*self.train, &mut self.train_indices, self.max_bad_fraction, warn)?;
                leave_out_bad("k-NN monitor", &*self.test, &mut self.test_indices, self.max_bad_fraction, warn)?;
                self.accuracy(encoder)
            }
            result => result,
        }
    }

    /// Whether an error is of an image that is to be left out.
    fn skips(&self, error: &EvalError) -> bool {
        matches!(error, EvalError::Sample(_)) && self.on_error == OnError::Skip
    }

    fn accuracy(&self, encoder: &Encoder) -> Result<KnnResult> {
        let features = |data: &Arc<dyn Dataset>, indices: &[usize]| -> Result<_> {
            Ok(extract(encoder, data.as_ref(), indices, &self.transform, BATCH, &|_, _| {})?)
        };
        let train = features(&self.train, &self.train_indices)?;
        let test = features(&self.test, &self.test_indices)?;
        Ok(knn(&train, &test, &self.knn)?)
    }
}

/// Decodes the samples `indices` and leaves out those that cannot be; `monitor` is for the warnings.
pub(crate) fn leave_out_bad(
    monitor: &str,
    data: &dyn Dataset,
    indices: &mut Vec<usize>,
    max_bad_fraction: f64,
    warn: &mut dyn FnMut(&str),
) -> Result<()> {
    let bad: Vec<_> = indices.par_iter().filter_map(|&index| Some((index, data.image(index).err()?))).collect();
    for (_, reason) in &bad {
        warn(&format!("left out of the {monitor}: {reason}"));
    }
    if bad.len() as f64 > max_bad_fraction * indices.len() as f64 {
        return Err(TrainError::TooManyBad { bad: bad.len(), images: indices.len(), limit: 100.0 * max_bad_fraction });
    }
    indices.retain(|index| bad.iter().all(|(bad, _)| bad != index));
    Ok(())
}

/// Samples drawn by the seed, in the order of the data set.
pub(crate) fn subset(data: &dyn Dataset, samples: usize, seed: u64) -> Vec<usize> {
    let mut indices = random_subset(data.len(), samples, seed);
    indices.sort_unstable();
    indices
}

/// Whether every sample looked at has exactly one class.
pub fn has_classes(data: &dyn Dataset) -> bool {
    (0..data.len().min(100)).all(|i| matches!(data.label(i), Label::Class(_)))
}
