//! The k-NN monitor: accuracy of frozen features on a fixed subset, before, during and after training.

use crate::error::Result;
use crate::monitored_images::MonitoredImages;
use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use clsa_eval::features::extract;
use clsa_eval::protocols::{KnnConfig, KnnResult, knn};
use clsa_model::Encoder;
use clsa_run::Config;
use std::sync::Arc;

/// Images per forward pass of the monitor.
const BATCH: usize = 64;

/// The subset and its settings.
pub struct KnnMonitor {
    train: MonitoredImages,
    test: MonitoredImages,
    transform: CenterCrop,
    knn: KnnConfig,
}

impl KnnMonitor {
    /// Draws the subset by the run's seed.
    pub fn new(config: &Config, train: Arc<dyn Dataset>, test: Arc<dyn Dataset>) -> Self {
        let images = |dataset, samples| MonitoredImages::draw(config, "k-NN monitor", dataset, samples);
        Self {
            train: images(train, config.knn.train_samples),
            test: images(test, config.knn.test_samples),
            transform: config.center_crop(),
            knn: KnnConfig { k: config.knn.k, temperature: config.knn.temperature },
        }
    }

    /// k-NN accuracy of an encoder. Where `data.on_error` is `skip`, images that cannot be read are left out of the subset
    /// from then on, and `warn` is called with a sentence about each.
    ///
    /// # Errors
    /// The data have no labels; an image cannot be read and `data.on_error` is `stop`, or more of them than
    /// `data.max_bad_fraction` of the subset.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<KnnResult> {
        let look = |dataset: &dyn Dataset, indices: &[usize]| {
            extract(encoder, dataset, indices, &self.transform, BATCH, &|_, _| {})
        };
        let train = self.train.look_at(warn, look)?;
        let test = self.test.look_at(warn, look)?;
        Ok(knn(&train, &test, &self.knn)?)
    }
}
