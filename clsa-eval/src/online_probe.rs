//! A linear classifier that is trained beside an encoder.

use crate::EvalError;
use crate::features::Features;
use crate::metrics::Predictions;
use crate::sgd_classifier::{Loss, SgdClassifier};
use candle_core::{DType, Device, Tensor, Var};
use clsa_data::Label;
use clsa_model::SgdUpdate;

/// A linear classifier that learns from an encoder's features while the encoder is trained, without touching it: how good a
/// representation is can be seen at any time, at the price of one small matrix product a step.
///
/// # Examples
/// ```
/// use clsa_eval::OnlineProbe;
/// use clsa_eval::candle_core::{Device, Tensor};
/// use clsa_eval::clsa_data::Label;
/// use clsa_eval::features::Features;
///
/// let probe = OnlineProbe::new(2, 3, 0, &Device::Cpu)?;
/// let features = Tensor::new(&[[1f32, 0.0, 0.2], [0.0, 1.0, 0.1]], &Device::Cpu)?;
/// for _ in 0..50 {
///     probe.step(&features, &[Label::Class(0), Label::Class(1)], 0.5)?;
/// }
/// let test = Features { values: vec![0.9, 0.1, 0.0, 0.2, 0.8, 0.3], dim: 3, labels: vec![0, 1] };
/// assert_eq!(probe.predict(&test)?.top1(&test.labels), 100.0);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub struct OnlineProbe {
    classifier: SgdClassifier,
    classes: usize,
    device: Device,
}

impl OnlineProbe {
    /// Momentum of SGD.
    const MOMENTUM: f64 = 0.9;

    /// For features of `dim` values; weights from N(0, 0.01), drawn from the seed, biases 0.
    ///
    /// # Errors
    /// A tensor cannot be allocated.
    pub fn new(classes: usize, dim: usize, seed: u64, device: &Device) -> Result<Self, EvalError> {
        let classifier = SgdClassifier::new(classes, dim, seed, device)?;
        Ok(Self { classifier, classes, device: device.clone() })
    }

    /// One step of SGD with momentum 0.9 on features (N, dim) whose images have these labels, with cross-entropy. A GPU is not waited
    /// for.
    ///
    /// # Errors
    /// There are not as many labels as rows, a label is no class, or one beyond those of the probe; or a tensor operation fails.
    pub fn step(&self, features: &Tensor, labels: &[Label], lr: f64) -> Result<(), EvalError> {
        let features = features.to_dtype(DType::F32)?;
        let loss = self.cross_entropy(&features, labels)?;
        let update = SgdUpdate { lr, momentum: Self::MOMENTUM, weight_decay: 0.0 };
        self.classifier.update(&features, &loss, &update)
    }

    /// Mean cross-entropy of features (N, dim) whose images have these labels. A GPU is waited for.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn loss(&self, features: &Tensor, labels: &[Label]) -> Result<f64, EvalError> {
        self.cross_entropy(&features.to_dtype(DType::F32)?, labels)?.value()
    }

    /// Cross-entropy of features in f32; checks the labels.
    fn cross_entropy(&self, features: &Tensor, labels: &[Label]) -> Result<Loss, EvalError> {
        let known = labels.iter().filter_map(Label::class).filter(|&class| (class as usize) < self.classes).count();
        if known < labels.len() {
            return Err(EvalError::Size { what: "the labeled part of the batch", got: known, expected: labels.len() });
        }
        let rows = features.dim(0)?;
        if labels.len() != rows {
            return Err(EvalError::Size { what: "the labels of the batch", got: labels.len(), expected: rows });
        }
        self.classifier.cross_entropy(features, labels)
    }

    /// The ranked classes of each row.
    ///
    /// # Errors
    /// The rows are of another size.
    pub fn predict(&self, features: &Features) -> Result<Predictions, EvalError> {
        let rows = Tensor::from_slice(&features.values, (features.len(), features.dim), &self.device)?;
        Ok(Predictions::from_scores(&self.classifier.scores(&rows)?, self.classes))
    }

    /// Everything that changes, by name, for checkpoints.
    pub fn variables(&self) -> Vec<(String, Var)> {
        self.classifier.variables("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_can_be_told_apart_are_and_the_loss_falls() {
        let probe = OnlineProbe::new(3, 4, 1, &Device::Cpu).unwrap();
        let row = |class: usize, noise: usize| {
            (0..4).map(move |at| if at == class { 1.0 } else { 0.1 * ((noise * 7 + at * 3) % 5) as f32 })
        };
        let values: Vec<f32> = (0..30).flat_map(|i| row(i % 3, i)).collect();
        let features = Tensor::from_vec(values, (30, 4), &Device::Cpu).unwrap();
        let labels: Vec<Label> = (0..30).map(|i| Label::Class(i % 3)).collect();
        let loss = || probe.loss(&features, &labels).unwrap();
        let first = loss();
        assert!(first == loss() && (first - 3f64.ln()).abs() < 0.05, "{first}, which reading does not change");
        for _ in 0..60 {
            probe.step(&features, &labels, 0.3).unwrap();
        }
        assert!(loss() < 0.3 * first, "{} after {first}", loss());
        let test: Vec<f32> = (30..60).flat_map(|i| row(i % 3, i)).collect();
        let test = Features { values: test, dim: 4, labels: (30..60).map(|i| i % 3).collect() };
        assert_eq!(probe.predict(&test).unwrap().top1(&test.labels), 100.0);
    }

    #[test]
    fn as_many_labels_as_rows_are_needed() {
        let probe = OnlineProbe::new(2, 1, 0, &Device::Cpu).unwrap();
        let features = Tensor::new(&[[1f32], [2.0]], &Device::Cpu).unwrap();
        for count in [1, 3] {
            let error = probe.step(&features, &vec![Label::Class(0); count], 0.1).unwrap_err();
            assert!(matches!(error, EvalError::Size { got, expected: 2, .. } if got == count), "{error}");
        }
    }

    #[test]
    fn labels_beyond_the_classes_are_refused() {
        let probe = OnlineProbe::new(2, 1, 0, &Device::Cpu).unwrap();
        let features = Tensor::new(&[[1f32], [2.0]], &Device::Cpu).unwrap();
        for wrong in [Label::Class(2), Label::None] {
            assert!(matches!(
                probe.step(&features, &[Label::Class(0), wrong], 0.1),
                Err(EvalError::Size { got: 1, .. })
            ));
        }
    }
}
