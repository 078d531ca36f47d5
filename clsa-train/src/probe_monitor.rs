//! The online linear probe: trained with each step, evaluated with the k-NN monitor.

use crate::error::{Result, TrainError};
use crate::monitored_images::{BATCH, MonitoredImages, has_classes};
use candle_core::{Tensor, Var};
use clsa_data::{Dataset, Label};
use clsa_eval::OnlineProbe;
use clsa_eval::features::extract_stage;
use clsa_model::Encoder;
use clsa_run::Config;
use std::sync::Arc;

/// The probe, and the test images that it is evaluated on.
pub(crate) struct ProbeMonitor {
    probe: OnlineProbe,
    variables: Vec<(String, Var)>,
    test: Option<MonitoredImages>,
}

impl ProbeMonitor {
    /// A probe of the query encoder's backbone. The test images are those of the k-NN monitor.
    ///
    /// # Errors
    /// The training images have no classes.
    pub fn new(
        config: &Config,
        encoder: &Encoder,
        train: &dyn Dataset,
        test: Option<Arc<dyn Dataset>>,
    ) -> Result<Self> {
        let classes = train.class_names().len();
        if !has_classes(train) || classes == 0 {
            let reason = "the training images have no classes; use 0, which is without a probe".to_owned();
            return Err(TrainError::Unfit { key: format!("probe.lr = {}", config.probe.lr), reason });
        }
        let dim = encoder.stages().last().map_or(0, |stage| stage.channels);
        let probe = OnlineProbe::new(classes, dim, config.train.seed, encoder.device())?;
        let images = |test| MonitoredImages::draw(config, "online probe", test, config.knn.test_samples);
        Ok(Self { variables: probe.variables(), probe, test: test.map(images) })
    }

    /// Everything that changes, by name, for checkpoints.
    pub fn variables(&self) -> &[(String, Var)] {
        &self.variables
    }

    /// One step on the features (N, C) of a batch, for which a GPU is not waited for.
    ///
    /// # Errors
    /// A label is no class, or a tensor operation fails.
    pub fn step(&self, features: &Tensor, labels: &[Label], lr: f64) -> Result<()> {
        Ok(self.probe.step(features, labels, lr)?)
    }

    /// Top-1 and top-5 accuracy on the test images, percent; none where there are no labeled ones. Images that cannot be read are left
    /// out as by the k-NN monitor.
    ///
    /// # Errors
    /// An image cannot be read and `data.on_error` is `stop`, or more of them than `data.max_bad_fraction` of the subset.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<Option<(f64, f64)>> {
        let Some(test) = &mut self.test else { return Ok(None) };
        let stage = encoder.stages().len() - 1;
        let features = test.look_at(warn, |dataset, indices, transform| {
            extract_stage(encoder, stage, dataset, indices, transform, BATCH)
        })?;
        let predictions = self.probe.predict(&features)?;
        Ok(Some((predictions.top1(&features.labels), predictions.top5(&features.labels))))
    }
}
