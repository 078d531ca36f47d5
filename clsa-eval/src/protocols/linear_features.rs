//! The protocol `linear-features`: logistic regression on features of center crops.

use super::data::EvalData;
use super::protocol::{LabelKind, Needs, Outcome, Protocol};
use super::settings::Settings;
use super::workbench::Workbench;
use crate::EvalError;
use crate::logistic_regression::{
    LogisticClassifier, LogisticRegressionConfig, check_held_out, logistic_regression, note_end,
};
use serde_json::json;

/// The protocol `linear-features`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinearFeatures;

impl Protocol for LinearFeatures {
    fn name(&self) -> &str {
        "linear-features"
    }

    fn about(&self) -> &str {
        "multinomial logistic regression (L-BFGS) on standardized features of center crops; λ is chosen on a fifth of each \
         class's training images, of seven values, the strongest first, until two in a row are no better"
    }

    fn needs(&self) -> Needs {
        Needs { features: true, labels: LabelKind::OneClass, test_images: true }
    }

    fn check_data(&self, data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
        check_held_out(&data.labels()?.train, settings.seed())
    }

    fn run(&self, bench: &Workbench<'_>) -> Result<Outcome, EvalError> {
        let config = LogisticRegressionConfig { seed: bench.settings().seed(), ..LogisticRegressionConfig::default() };
        let mut outcome = Outcome { settings: json!(config), ..Outcome::default() };
        for set in bench.labeled_features()? {
            let progress = bench.observer().begin(&format!("{}, {}", self.name(), set.kind), "fits");
            let (classifier, predictions) = logistic_regression(set.train, set.test, &config, &progress)?;
            drop(progress);
            let LogisticClassifier { regularization, held_out, is_minimum, .. } = classifier;
            note_end(is_minimum, &format!("{}, {}", self.name(), set.kind), bench.observer());
            let details = json!({ "regularization": regularization, "held_out": held_out, "is_minimum": is_minimum });
            outcome.results.push(bench.accuracy(set.kind, details, &predictions, set.test.labels));
        }
        Ok(outcome)
    }
}
