//! The k-NN monitor: accuracy of frozen features on a fixed subset, before, during and after training.

use crate::config::Config;
use anyhow::Result;
use clsa_data::{Dataset, Label};
use clsa_eval::{EvalTransform, KnnConfig, KnnResult, extract, knn};
use clsa_model::Encoder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::sync::Arc;

/// Images per forward pass of the monitor.
const BATCH: usize = 64;

/// The subset and its settings.
pub struct KnnMonitor {
    train: Arc<dyn Dataset>,
    test: Arc<dyn Dataset>,
    train_indices: Vec<usize>,
    test_indices: Vec<usize>,
    transform: EvalTransform,
    knn: KnnConfig,
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
        let transform = EvalTransform { resize: config.eval.resize, crop: config.eval.crop, normalize };
        let train_indices = subset(train.as_ref(), config.knn.train_samples, seed);
        let test_indices = subset(test.as_ref(), config.knn.test_samples, seed);
        Ok(Self { train, test, train_indices, test_indices, transform, knn })
    }

    /// k-NN accuracy of an encoder.
    ///
    /// # Errors
    /// An image cannot be read.
    pub fn evaluate(&self, encoder: &Encoder) -> Result<KnnResult> {
        let features = |data: &Arc<dyn Dataset>, indices: &[usize]| {
            extract(encoder, data.as_ref(), indices, &self.transform, BATCH, &|_| {})
        };
        let train = features(&self.train, &self.train_indices)?;
        let test = features(&self.test, &self.test_indices)?;
        Ok(knn(&train, &test, &self.knn)?)
    }
}

fn subset(data: &dyn Dataset, samples: usize, seed: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..data.len()).collect();
    indices.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    indices.truncate(samples);
    indices.sort_unstable();
    indices
}

/// Whether every sample looked at has exactly one class.
pub fn has_classes(data: &dyn Dataset) -> bool {
    (0..data.len().min(100)).all(|i| matches!(data.label(i), Label::Class(_)))
}
