//! The online linear probe: trained with each step, evaluated with the k-NN monitor.

use crate::error::{Result, TrainError};
use crate::monitor::{has_classes, leave_out_bad, subset};
use candle_core::{Tensor, Var};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Label, OnError};
use clsa_eval::features::{Features, extract_stage};
use clsa_eval::{EvalError, OnlineProbe};
use clsa_model::Encoder;
use clsa_run::Config;
use std::sync::Arc;

/// Images per forward pass.
const BATCH: usize = 64;

/// The probe, and the test images that it is evaluated on.
pub struct ProbeMonitor {
    probe: OnlineProbe,
    variables: Vec<(String, Var)>,
    test: Option<Arc<dyn Dataset>>,
    indices: Vec<usize>,
    transform: CenterCrop,
    on_error: OnError,
    max_bad_fraction: f64,
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
        let (resize, crop, normalize) = (config.eval.resize, config.eval.crop, config.views.key.normalize);
        Ok(Self {
            variables: probe.variables(),
            probe,
            indices: test
                .as_ref()
                .map_or(Vec::new(), |test| subset(&**test, config.knn.test_samples, config.train.seed)),
            test,
            transform: CenterCrop { resize, crop, normalize },
            on_error: config.data.on_error,
            max_bad_fraction: config.data.max_bad_fraction,
        })
    }

    /// Everything that changes, by name, for checkpoints.
    pub fn variables(&self) -> &[(String, Var)] {
        &self.variables
    }

    /// One step on the features (N, C) of a batch.
    ///
    /// # Errors
    /// A label is no class, or a tensor operation fails.
    pub fn step(&self, features: &Tensor, labels: &[Label], lr: f64) -> Result<()> {
        self.probe.step(features, labels, lr)?;
        Ok(())
    }

    /// Top-1 and top-5 accuracy on the test images, percent; none where there are no labeled ones. Images that cannot be read are left
    /// out as by the k-NN monitor.
    ///
    /// # Errors
    /// An image cannot be read and `data.on_error` is `stop`, or more of them than `data.max_bad_fraction` of the subset.
    pub fn evaluate(&mut self, encoder: &Encoder, warn: &mut dyn FnMut(&str)) -> Result<Option<(f64, f64)>> {
        let Some(test) = self.test.clone() else { return Ok(None) };
        let features = match self.features(encoder, test.as_ref()) {
            Err(EvalError::Sample(_)) if self.on_error == OnError::Skip => {
                leave_out_bad("online probe", test.as_ref(), &mut self.indices, self.max_bad_fraction, warn)?;
                self.features(encoder, test.as_ref())?
            }
            features => features?,
        };
        let predictions = self.probe.predict(&features)?;
        Ok(Some((predictions.top1(&features.labels), predictions.top5(&features.labels))))
    }

    fn features(&self, encoder: &Encoder, test: &dyn Dataset) -> std::result::Result<Features, EvalError> {
        let stage = encoder.stages().len() - 1;
        extract_stage(encoder, stage, test, &self.indices, &self.transform, BATCH)
    }
}
