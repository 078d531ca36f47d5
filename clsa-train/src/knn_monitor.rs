//! The k-NN monitor: accuracy of frozen features on a fixed subset, before, during and after training.

use crate::error::Result;
use crate::monitored_images::{BATCH, MonitoredImages};
use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use clsa_eval::features::{Features, extract};
use clsa_eval::protocols::{KnnConfig, KnnResult, knn};
use clsa_model::Encoder;
use clsa_run::Config;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The subset and its settings.
pub(crate) struct KnnMonitor {
    train: MonitoredImages,
    test: MonitoredImages,
    knn: KnnConfig,
    /// What was said of the classes in the subset: the same is so each time.
    said: Option<String>,
}

impl KnnMonitor {
    /// Draws the subset by the run's seed.
    pub fn new(config: &Config, train: Arc<dyn Dataset>, test: Arc<dyn Dataset>) -> Self {
        let images = |dataset, samples| MonitoredImages::draw(config, "k-NN monitor", dataset, samples);
        Self {
            train: images(train, config.knn.train_samples),
            test: images(test, config.knn.test_samples),
            knn: KnnConfig { k: config.knn.k, temperature: config.knn.temperature },
            said: None,
        }
    }

    /// k-NN accuracy of an encoder, on the test images whose class a training image of the subset has; none where these have one class
    /// alone. Where `data.on_error` is `skip`, images that cannot be read are left out of the subset from then on. `warn` is called
    /// with a sentence about each image, and the first time with one about what is not measured.
    ///
    /// # Errors
    /// The data have no labels; an image cannot be read and `data.on_error` is `stop`, or more of them than
    /// `data.max_bad_fraction` of the subset.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<Option<KnnResult>> {
        let look = |dataset: &dyn Dataset, indices: &[usize], transform: &CenterCrop| {
            extract(encoder, dataset, indices, transform, BATCH, &|_, _| {})
        };
        let train = self.train.look_at(warn, look)?;
        let test = self.test.look_at(warn, look)?;
        let classes: BTreeSet<u32> = train.labels.iter().copied().collect();
        let known = of_classes(&test, &classes);
        let seen = format!("the {} training images that the k-NN monitor looks at", train.len());
        if classes.len() < 2 || known.is_empty() {
            let why = if classes.len() < 2 { "are all of one class" } else { "have no class of its test images" };
            self.say(warn, format!("{seen} {why}, so there is no k-NN accuracy"));
            return Ok(None);
        }
        if known.len() < test.len() {
            let (unknown, all) = (test.len() - known.len(), test.len());
            self.say(
                warn,
                format!("{unknown} of {all} test images have classes that none of {seen} has, and are left out"),
            );
        }
        Ok(Some(knn(&train, &known, &self.knn)?))
    }

    fn say(&mut self, warn: &mut dyn FnMut(&str), sentence: String) {
        if self.said.as_ref() != Some(&sentence) {
            warn(&sentence);
            self.said = Some(sentence);
        }
    }
}

/// The features of images of these classes.
fn of_classes(features: &Features, classes: &BTreeSet<u32>) -> Features {
    let rows: Vec<usize> = (0..features.len()).filter(|&row| classes.contains(&features.labels[row])).collect();
    Features {
        values: rows.iter().flat_map(|&row| features.row(row)).copied().collect(),
        dim: features.dim,
        labels: rows.iter().map(|&row| features.labels[row]).collect(),
    }
}
