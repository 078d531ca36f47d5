//! Multinomial logistic regression on fixed features: a linear probe without a training loop.

use crate::features::check_splits;
use crate::stratified::hold_out;
use crate::{EvalError, Features, Predictions};
use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Rows that are held in double precision at a time.
const BLOCK: usize = 4096;
/// Corrections that L-BFGS remembers.
const HISTORY: usize = 10;
/// Weaker regularisation is not tried after this many values that were no better.
const PATIENCE: usize = 3;

/// Settings of [`logistic_regression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegressionConfig {
    /// Regularisation λ to choose from, strongest first: the objective is the mean cross-entropy plus `λ/2 · ‖W‖²`,
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

/// What [`logistic_regression`] gives.
#[derive(Clone, Debug)]
pub struct LogisticRegressionResult {
    /// The ranked classes of each test image.
    pub predictions: Predictions,
    /// The λ that was used.
    pub regularization: f64,
    /// Top-1 accuracy on the held-out part of the training images by λ, percent; empty where there was nothing to
    /// choose.
    pub held_out: Vec<(f64, f64)>,
}

/// Fits a linear classifier to the training features, standardised to mean 0 and variance 1, and applies it to the
/// test features. λ is chosen on a held-out part of the training images, then all of them are fitted; the test
/// images choose nothing.
///
/// # Errors
/// A split is empty, has features that are not finite or of another length, the training images are all of one class,
/// a test class is not among theirs, no class has two images although λ is to be chosen, or a setting is out of range.
pub fn logistic_regression(
    train: &Features,
    test: &Features,
    config: &LogisticRegressionConfig,
) -> Result<LogisticRegressionResult, EvalError> {
    check_splits(train, test)?;
    if config.regularization.is_empty() || config.regularization.iter().any(|l| !(l.is_finite() && *l > 0.0)) {
        let value = format!("{:?}", config.regularization);
        return Err(EvalError::Setting { key: "regularization", value, expected: "use one or more positive numbers" });
    }
    if !(config.held_out > 0.0 && config.held_out < 1.0) {
        let value = config.held_out.to_string();
        return Err(EvalError::Setting { key: "held_out", value, expected: "use a part between 0 and 1" });
    }
    let all: Vec<u32> = (0..train.len() as u32).collect();
    let (regularization, held_out) = match config.regularization[..] {
        [only] => (only, Vec::new()),
        _ => choose(train, config)?,
    };
    let problem = Problem::new(train, &all);
    let weights = problem.fit(regularization, config.max_iterations, problem.zeros())?;
    let rows: Vec<u32> = (0..test.len() as u32).collect();
    let predictions = Predictions::from_scores(&problem.scores(test, &rows, &weights)?, problem.classes);
    Ok(LogisticRegressionResult { predictions, regularization, held_out })
}

/// Tries λ from the strongest on, each fit beginning where the one before ended.
fn choose(train: &Features, config: &LogisticRegressionConfig) -> Result<(f64, Vec<(f64, f64)>), EvalError> {
    let (held_out, fitted) = hold_out(&train.labels, config.held_out, config.seed);
    if held_out.is_empty() {
        let value = format!("{:?}", config.regularization);
        let expected = "there is no class with two training images to choose by; give a single value";
        return Err(EvalError::Setting { key: "regularization", value, expected });
    }
    let mut grid = config.regularization.clone();
    grid.sort_by(|a, b| b.total_cmp(a));
    let problem = Problem::new(train, &fitted);
    let mut weights = problem.zeros();
    let mut tried: Vec<(f64, f64)> = Vec::new();
    let (mut best, mut since_best) = (0, 0);
    for lambda in grid {
        weights = problem.fit(lambda, config.max_iterations, weights)?;
        let predictions = Predictions::from_scores(&problem.scores(train, &held_out, &weights)?, problem.classes);
        let right = predictions.ranked.iter().zip(&held_out).filter(|(r, i)| r[0] == train.labels[**i as usize]);
        tried.push((lambda, 100.0 * right.count() as f64 / held_out.len() as f64));
        if tried[tried.len() - 1].1 > tried[best].1 {
            (best, since_best) = (tried.len() - 1, 0);
        } else if tried.len() > 1 {
            since_best += 1;
            if since_best == PATIENCE {
                break;
            }
        }
    }
    Ok((tried[best].0, tried))
}

/// A set of rows to fit. Weights are one vector: `classes x dim`, then the biases.
struct Problem<'a> {
    features: &'a Features,
    rows: &'a [u32],
    classes: usize,
    mean: Vec<f64>,
    /// One over the standard deviation; 0 for a feature that never changes.
    scale: Vec<f64>,
}

impl<'a> Problem<'a> {
    fn new(features: &'a Features, rows: &'a [u32]) -> Self {
        let (dim, n) = (features.dim, rows.len() as f64);
        let mut mean = vec![0.0; dim];
        for &row in rows {
            mean.iter_mut().zip(features.row(row as usize)).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= n);
        let mut scale = vec![0.0; dim];
        for &row in rows {
            let row = features.row(row as usize);
            scale.iter_mut().zip(&mean).zip(row).for_each(|((s, m), &x)| *s += (f64::from(x) - m).powi(2));
        }
        // Rounding leaves a constant feature a variance of about 1e-14 of its square.
        let usable = |variance: f64, m: f64| variance > 1e-12 * m * m && variance > 0.0;
        scale.iter_mut().zip(&mean).for_each(|(s, &m)| {
            let variance = *s / n;
            *s = if usable(variance, m) { variance.sqrt().recip() } else { 0.0 };
        });
        Self { features, rows, classes: features.classes(), mean, scale }
    }

    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.classes * (self.features.dim + 1)]
    }

    /// Standardised rows of `features`, (rows, dim).
    fn standardised(&self, features: &Features, rows: &[u32]) -> Result<Tensor, EvalError> {
        let dim = features.dim;
        let mut out = vec![0.0; rows.len() * dim];
        out.par_chunks_exact_mut(dim).zip(rows).for_each(|(out, &row)| {
            let statistics = self.mean.iter().zip(&self.scale);
            for ((out, &x), (m, s)) in out.iter_mut().zip(features.row(row as usize)).zip(statistics) {
                *out = (f64::from(x) - m) * s;
            }
        });
        Ok(Tensor::from_vec(out, (rows.len(), dim), &Device::Cpu)?)
    }

    /// Logits of standardised rows, row-major.
    fn logits(&self, rows: &Tensor, weights: &[f64]) -> Result<Vec<f64>, EvalError> {
        let (matrix, bias) = weights.split_at(self.classes * self.features.dim);
        let matrix = Tensor::from_slice(matrix, (self.classes, self.features.dim), &Device::Cpu)?;
        let mut logits = rows.matmul(&matrix.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        for logits in logits.chunks_exact_mut(self.classes) {
            logits.iter_mut().zip(bias).for_each(|(l, b)| *l += b);
        }
        Ok(logits)
    }

    /// Logits of rows of `features`, row-major.
    fn scores(&self, features: &Features, rows: &[u32], weights: &[f64]) -> Result<Vec<f64>, EvalError> {
        let mut scores = Vec::with_capacity(rows.len() * self.classes);
        for rows in rows.chunks(BLOCK) {
            scores.extend(self.logits(&self.standardised(features, rows)?, weights)?);
        }
        Ok(scores)
    }

    /// The objective and its gradient.
    fn objective(&self, weights: &[f64], lambda: f64) -> Result<(f64, Vec<f64>), EvalError> {
        let (classes, dim) = (self.classes, self.features.dim);
        let n = self.rows.len() as f64;
        let mut gradient = vec![0.0; weights.len()];
        let mut loss = 0.0;
        for rows in self.rows.chunks(BLOCK) {
            let x = self.standardised(self.features, rows)?;
            let mut residual = self.logits(&x, weights)?;
            let losses: Vec<f64> = residual
                .par_chunks_exact_mut(classes)
                .zip(rows)
                .map(|(logits, &row)| softmax_residual(logits, self.features.labels[row as usize] as usize))
                .collect();
            loss += losses.iter().sum::<f64>();
            for residual in residual.chunks_exact(classes) {
                gradient[classes * dim..].iter_mut().zip(residual).for_each(|(g, r)| *g += r / n);
            }
            let residual = Tensor::from_vec(residual, (rows.len(), classes), &Device::Cpu)?;
            let product = residual.t()?.matmul(&x)?.flatten_all()?.to_vec1::<f64>()?;
            gradient.iter_mut().zip(product).for_each(|(g, p)| *g += p / n);
        }
        let matrix = &weights[..classes * dim];
        gradient.iter_mut().zip(matrix).for_each(|(g, w)| *g += lambda * w);
        let penalty = 0.5 * lambda * matrix.iter().map(|w| w * w).sum::<f64>();
        Ok((loss / n + penalty, gradient))
    }

    /// Minimises the objective from `start` on.
    fn fit(&self, lambda: f64, max_iterations: u64, start: Vec<f64>) -> Result<Vec<f64>, EvalError> {
        let failed = |e: argmin::core::Error| EvalError::Optimizer { lambda, reason: e.to_string() };
        let solver = LBFGS::new(MoreThuenteLineSearch::new(), HISTORY)
            .with_tolerance_grad(1e-6)
            .and_then(|solver| solver.with_tolerance_cost(1e-10))
            .map_err(failed)?;
        let objective = Objective { problem: self, lambda, last: RefCell::default() };
        let result = Executor::new(objective, solver)
            .configure(|state| state.param(start).max_iters(max_iterations))
            .run()
            .map_err(failed)?;
        let best = result.state.get_best_param().cloned();
        best.ok_or_else(|| EvalError::Optimizer { lambda, reason: "it found no weights".to_owned() })
    }
}

/// Turns logits into `softmax - one_hot(label)` and returns the cross-entropy.
fn softmax_residual(logits: &mut [f64], label: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let positive = logits[label] - most;
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|p| *p /= sum);
    logits[label] -= 1.0;
    sum.ln() - positive
}

/// A point of the search with the objective and its gradient there.
type Evaluated = (Vec<f64>, f64, Vec<f64>);

/// The objective as argmin asks for it: value and gradient apart, mostly at the same point.
struct Objective<'a> {
    problem: &'a Problem<'a>,
    lambda: f64,
    last: RefCell<Option<Evaluated>>,
}

impl Objective<'_> {
    fn at<T>(&self, weights: &[f64], part: impl FnOnce(&Evaluated) -> T) -> Result<T, argmin::core::Error> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some(evaluated) if evaluated.0 == weights => Ok(part(evaluated)),
            _ => {
                let (cost, gradient) = self.problem.objective(weights, self.lambda)?;
                Ok(part(last.insert((weights.to_vec(), cost, gradient))))
            }
        }
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, weights: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        self.at(weights, |(_, cost, _)| *cost)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, weights: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        self.at(weights, |(_, _, gradient)| gradient.clone())
    }
}
