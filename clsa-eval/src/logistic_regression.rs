//! Multinomial logistic regression on fixed features: a linear probe without a training loop.

mod problem;
mod standardized;

use crate::choice::{Tried, check_choice, nothing_to_choose_by};
use crate::features::{FeatureRows, Labeled, check_labeled, check_training_rows};
use crate::metrics::Predictions;
use crate::stratified::hold_out;
use crate::{EvalError, Observer};
use problem::{Fit, logits};
use serde::{Deserialize, Serialize};
use standardized::{Standard, Standardized};

/// Weaker regularization is not tried after this many values that were no better.
const PATIENCE: usize = 2;

/// Settings of [`logistic_regression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegressionConfig {
    /// Regularization λ to choose from, strongest first: the objective is the mean cross-entropy plus `λ/2 · ‖W‖²`,
    /// biases free (scikit-learn's `C` is `1 / (λ · n)`). A single value is taken as it is.
    pub regularization: Vec<f64>,
    /// Part of each class's training images that is held out while λ is chosen.
    pub held_out: f64,
    /// Seed that draws the held-out part.
    pub seed: u64,
    /// Most iterations of L-BFGS for one λ.
    pub max_iterations: u64,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        let regularization = (0..=6).map(|power| 10f64.powi(-power)).collect();
        Self { regularization, held_out: 0.2, seed: 0, max_iterations: 300 }
    }
}

/// Fits a linear classifier to the training features, standardized to mean 0 and variance 1, and applies it to the
/// test features. λ is chosen on a held-out part of the training images, then all of them are fitted; the test
/// images choose nothing. Training features are held in memory once, in single precision, test features are read in
/// blocks. Calls `progress` after every fit with the fits that are done and the most that there can be, which is
/// `regularization.len() + 1`. Gives the classifier and the ranked classes of each test image.
///
/// # Errors
/// A split is empty, has features that are not finite or of another length, the training images are all of one class,
/// a test class is not among theirs, no class has two images although λ is to be chosen, or a setting is out of range.
///
/// # Examples
/// ```
/// use clsa_eval::features::Features;
/// use clsa_eval::protocols::{LogisticRegressionConfig, logistic_regression};
///
/// let train = Features { values: vec![0.9, 1.1, 1.0, -1.0, -0.9, -1.1], dim: 1, labels: vec![0, 0, 0, 1, 1, 1] };
/// let test = Features { values: vec![0.5, -0.5], dim: 1, labels: vec![0, 1] };
/// let config = LogisticRegressionConfig::default();
/// let (_, predictions) = logistic_regression(&train, &test, &config, &|_, _| {})?;
/// assert_eq!(predictions.ranked, [[0, 1], [1, 0]]);
/// # Ok::<(), clsa_eval::EvalError>(())
/// ```
pub fn logistic_regression<'a>(
    train: impl Into<Labeled<'a>>,
    test: impl Into<Labeled<'a>>,
    config: &LogisticRegressionConfig,
    progress: &dyn Fn(u64, u64),
) -> Result<(LogisticClassifier, Predictions), EvalError> {
    let (train, test) = (train.into(), test.into());
    check_labeled(train, test)?;
    let classifier = LogisticClassifier::fit(train, config, progress)?;
    let predictions = classifier.predict(test.rows)?;
    Ok((classifier, predictions))
}

/// A linear classifier that [`logistic_regression`] fits, for features of more than one test set.
#[derive(Clone, Debug)]
pub struct LogisticClassifier {
    /// The λ that was used.
    pub regularization: f64,
    /// Top-1 accuracy on the held-out part of the training images by λ, percent; empty where there was nothing to
    /// choose.
    pub held_out: Vec<Tried>,
    /// Whether the search for weights ended at the minimum, and not at its last iteration or where it could not go on.
    pub is_minimum: bool,
    classes: usize,
    standard: Standard,
    weights: Vec<f64>,
}

impl LogisticClassifier {
    /// Fits the training features as [`logistic_regression`] does.
    ///
    /// # Errors
    /// Those of [`logistic_regression`] that are not of the test features.
    pub fn fit<'a>(
        train: impl Into<Labeled<'a>>,
        config: &LogisticRegressionConfig,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Self, EvalError> {
        let train = train.into();
        let classes = check_training_rows(train)?;
        check_choice("regularization", &config.regularization, config.held_out)?;
        // Held-out rows come last, so that they and the fitted ones are blocks of one matrix.
        let (held_out, fitted) = match config.regularization[..] {
            [_] => (Vec::new(), (0..train.labels.len() as u32).collect()),
            _ => hold_out(train.labels, config.held_out, config.seed),
        };
        if held_out.is_empty() && config.regularization.len() > 1 {
            return Err(nothing_to_choose_by("regularization", &config.regularization));
        }
        let rows = Standardized::load(train, &[&fitted[..], &held_out].concat())?;
        let Choice { regularization, held_out, weights } = match config.regularization[..] {
            [regularization] => {
                let weights = vec![0.0; classes * (train.rows.dim() + 1)];
                Choice { regularization, held_out: Vec::new(), weights }
            }
            _ => choose(&rows, fitted.len(), classes, config, progress)?,
        };
        let problem = rows.problem(train.labels.len(), classes)?;
        let Fit { weights, is_minimum } = problem.fit(regularization, config.max_iterations, weights)?;
        progress(held_out.len() as u64 + 1, most_fits(config));
        Ok(Self { regularization, held_out, is_minimum, classes, standard: rows.standard, weights })
    }

    /// The ranked classes of each of the features, which are read in blocks.
    ///
    /// # Errors
    /// There are none, or they are not finite, of another length than those that were fitted, or cannot be read.
    pub fn predict(&self, features: &dyn FeatureRows) -> Result<Predictions, EvalError> {
        if features.len() == 0 {
            return Err(EvalError::Empty("test"));
        }
        if features.dim() != self.standard.dim() {
            let (got, expected) = (features.dim(), self.standard.dim());
            return Err(EvalError::Size { what: "a test feature", got, expected });
        }
        let scores = self.standard.scores(features, &self.weights, self.classes)?;
        Ok(Predictions::from_scores(&scores, self.classes))
    }
}

/// Fits there are at most.
fn most_fits(config: &LogisticRegressionConfig) -> u64 {
    config.regularization.len() as u64 + 1
}

/// Checks that there are training images to choose the regularization by.
pub(crate) fn check_held_out(labels: &[u32], seed: u64) -> Result<(), EvalError> {
    let LogisticRegressionConfig { regularization, held_out, .. } = LogisticRegressionConfig::default();
    if hold_out(labels, held_out, seed).0.is_empty() {
        let expected =
            "no class has two training images, one of which could be held out to choose by; use the protocol knn";
        return Err(EvalError::setting("regularization", format!("{regularization:?}"), expected));
    }
    Ok(())
}

/// Says that a classifier may be better than it was found to be.
pub(crate) fn note_end(is_minimum: bool, what: &str, observer: &dyn Observer) {
    if !is_minimum {
        observer
            .note(&format!("{what}: the search for weights ended before the minimum, so that a figure may be too low"));
    }
}

/// The λ that is best on held-out rows.
struct Choice {
    regularization: f64,
    /// Top-1 accuracy by λ.
    held_out: Vec<Tried>,
    /// Those fitted with it.
    weights: Vec<f64>,
}

/// Fits the first `fitted` rows with each λ from the strongest on, beginning where the one before ended, and takes the λ
/// that classifies the other rows best.
fn choose(
    rows: &Standardized,
    fitted: usize,
    classes: usize,
    config: &LogisticRegressionConfig,
    progress: &dyn Fn(u64, u64),
) -> Result<Choice, EvalError> {
    let mut grid = config.regularization.clone();
    grid.sort_by(|a, b| b.total_cmp(a));
    let problem = rows.problem(fitted, classes)?;
    let (held_out, labels) = rows.part(fitted..rows.labels.len())?;
    let mut weights = vec![0.0; classes * (problem.dim + 1)];
    let mut best_weights = Vec::new();
    let mut tried: Vec<Tried> = Vec::new();
    for lambda in grid {
        weights = problem.fit(lambda, config.max_iterations, weights)?.weights;
        let predictions = Predictions::from_scores(&logits(&held_out, &weights, classes)?, classes);
        tried.push(Tried { value: lambda, score: predictions.top1(labels) });
        progress(tried.len() as u64, most_fits(config));
        let best = Tried::best(&tried);
        if best == lambda {
            best_weights.clone_from(&weights);
        }
        if tried.iter().filter(|weaker| weaker.value < best).count() == PATIENCE {
            break;
        }
    }
    Ok(Choice { regularization: Tried::best(&tried), held_out: tried, weights: best_weights })
}
