//! An encoder in training together with a classifier.

use super::config::FinetuneConfig;
use crate::EvalError;
use crate::sgd_classifier::{SgdClassifier, SgdSchedule};
use candle_core::{DType, Tensor, Var};
use clsa_data::Label;
use clsa_model::{Encoder, FeatureStage, Gradients};

/// A copy of an encoder in training, with its classifier.
pub(super) struct Tuned {
    pub encoder: Encoder,
    /// One for each parameter of the encoder.
    velocities: Vec<Var>,
    pub classifier: SgdClassifier,
}

impl Tuned {
    pub fn new(encoder: &Encoder, classes: usize, seed: u64) -> Result<Self, EvalError> {
        let device = encoder.device();
        let mut tuned = encoder.twin()?;
        // It is trained to the end of the backbone, wherever the encoder's features are taken.
        tuned.set_feature_stage(FeatureStage::Backbone)?;
        let classifier = SgdClassifier::new(classes, tuned.feature_dim(), seed, device)?;
        let velocities = (tuned.parameters().iter())
            .map(|p| Var::zeros(p.var.shape(), p.var.dtype(), device))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { encoder: tuned, velocities, classifier })
    }

    /// Everything that a state keeps, by name.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let mut variables = self.classifier.variables("");
        let parameters = self.encoder.parameters().iter().zip(&self.velocities);
        for (parameter, velocity) in parameters.filter(|(parameter, _)| !clsa_model::head::owns(&parameter.name)) {
            variables.push((parameter.name.clone(), parameter.var.clone()));
            variables.push((format!("velocity.{}", parameter.name), velocity.clone()));
        }
        variables.extend(self.encoder.running_statistics().iter().map(|s| (s.name.clone(), s.var.clone())));
        variables
    }

    /// Trains on a batch, and gives its loss.
    pub fn step(
        &self,
        images: &Tensor,
        labels: &[Label],
        config: &FinetuneConfig,
        epoch: u64,
        gradients: &mut Gradients,
    ) -> Result<f64, EvalError> {
        let FinetuneConfig { epochs, momentum, weight_decay, .. } = *config;
        let schedule = SgdSchedule { epochs, momentum, weight_decay };
        let pass = self.encoder.forward_features(images)?;
        let features = pass.embedding().to_dtype(DType::F32)?;
        let loss = self.classifier.cross_entropy(&features, labels)?;
        let value = loss.value()?;
        if !value.is_finite() {
            // Of the two, the larger one is to be blamed first.
            return Err(EvalError::Diverged { lr: config.lr.max(config.head_lr), epoch });
        }
        gradients.clear();
        let gradient = self.classifier.features_gradient(&loss)?.to_dtype(pass.embedding().dtype())?;
        pass.backward(&gradient, gradients)?;
        self.classifier.update(&features, &loss, &schedule.update(config.head_lr, epoch))?;
        let parameters = self.encoder.parameters().iter().zip(&self.velocities).zip(gradients.iter());
        let updates: Vec<_> = parameters
            .filter_map(|((parameter, velocity), gradient)| Some((&parameter.var, velocity, gradient?)))
            .collect();
        schedule.update(config.lr, epoch).apply_all(&updates)?;
        Ok(value)
    }
}
