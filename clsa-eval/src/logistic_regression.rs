//! Multinomial logistic regression on fixed features: a linear probe without a training loop.

use crate::choice::{best, check_choice, nothing_to_choose_by};
use crate::features::{FeatureRows, Labelled, check_labelled, finite_rows};
use crate::stratified::hold_out;
use crate::{EvalError, Predictions};
use argmin::core::{CostFunction, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::ops::Range;

/// Rows that are worked on at a time.
const BLOCK: usize = 1024;
/// Corrections that L-BFGS remembers.
const HISTORY: usize = 10;
/// Weaker regularisation is not tried after this many values that were no better.
const PATIENCE: usize = 2;
/// The search for weights ends when an iteration lowers the objective by less. Accuracies are then within 0.2 points of the
/// optimum's.
const TOLERANCE: f64 = 1e-7;

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
/// images choose nothing. Training features are held in memory once, in single precision, test features are read in
/// blocks. `progress` is told after each fit how many are done; there are at most as many as values of λ, and one more
/// where there are several.
///
/// # Errors
/// A split is empty, has features that are not finite or of another length, the training images are all of one class,
/// a test class is not among theirs, no class has two images although λ is to be chosen, or a setting is out of range.
pub fn logistic_regression<'a>(
    train: impl Into<Labelled<'a>>,
    test: impl Into<Labelled<'a>>,
    config: &LogisticRegressionConfig,
    progress: &dyn Fn(usize),
) -> Result<LogisticRegressionResult, EvalError> {
    let (train, test) = (train.into(), test.into());
    let classes = check_labelled(train, test)?;
    check_choice("regularization", &config.regularization, config.held_out)?;
    // Held-out rows come last, so that they and the fitted ones are blocks of one matrix.
    let (held_out, fitted) = match config.regularization[..] {
        [_] => (Vec::new(), (0..train.labels.len() as u32).collect()),
        _ => hold_out(train.labels, config.held_out, config.seed),
    };
    if held_out.is_empty() && config.regularization.len() > 1 {
        return Err(nothing_to_choose_by("regularization", &config.regularization));
    }
    let rows = Standardised::load(train, &[&fitted[..], &held_out].concat())?;
    let Choice { regularization, held_out, weights } = match config.regularization[..] {
        [regularization] => {
            let weights = vec![0.0; classes * (train.rows.dim() + 1)];
            Choice { regularization, held_out: Vec::new(), weights }
        }
        _ => choose(&rows, fitted.len(), classes, config, progress)?,
    };
    let problem = rows.problem(train.labels.len(), classes)?;
    let weights = problem.fit(regularization, config.max_iterations, weights)?;
    progress(held_out.len() + 1);
    let predictions = Predictions::from_scores(&rows.scores(test.rows, &weights, classes)?, classes);
    Ok(LogisticRegressionResult { predictions, regularization, held_out })
}

/// The λ that is best on held-out rows.
struct Choice {
    regularization: f64,
    /// Top-1 accuracy by λ.
    held_out: Vec<(f64, f64)>,
    /// Those fitted with it.
    weights: Vec<f64>,
}

/// Fits the first `fitted` rows with each λ from the strongest on, beginning where the one before ended, and takes the λ
/// that classifies the other rows best.
fn choose(
    rows: &Standardised,
    fitted: usize,
    classes: usize,
    config: &LogisticRegressionConfig,
    progress: &dyn Fn(usize),
) -> Result<Choice, EvalError> {
    let mut grid = config.regularization.clone();
    grid.sort_by(|a, b| b.total_cmp(a));
    let problem = rows.problem(fitted, classes)?;
    let (held_out, labels) = rows.part(fitted..rows.labels.len())?;
    let mut weights = vec![0.0; classes * (problem.dim + 1)];
    let mut best_weights = Vec::new();
    let mut tried: Vec<(f64, f64)> = Vec::new();
    for lambda in grid {
        weights = problem.fit(lambda, config.max_iterations, weights)?;
        let ranked = Predictions::from_scores(&logits(&held_out, &weights, classes)?, classes).ranked;
        let right = ranked.iter().zip(labels).filter(|(ranked, class)| ranked[0] == **class).count();
        tried.push((lambda, 100.0 * right as f64 / labels.len() as f64));
        progress(tried.len());
        let best = best(&tried);
        if best == lambda {
            best_weights.clone_from(&weights);
        }
        if tried.iter().filter(|(weaker, _)| *weaker < best).count() == PATIENCE {
            break;
        }
    }
    Ok(Choice { regularization: best(&tried), held_out: tried, weights: best_weights })
}

/// Training features, standardised.
struct Standardised {
    /// (rows, dim).
    rows: Tensor,
    labels: Vec<u32>,
    mean: Vec<f64>,
    /// One over the standard deviation; 0 for a feature that never changes.
    scale: Vec<f64>,
}

impl Standardised {
    /// All the features, in the order of `order`.
    fn load(features: Labelled, order: &[u32]) -> Result<Self, EvalError> {
        let (dim, n) = (features.rows.dim(), order.len());
        let mut place = vec![0; n];
        order.iter().enumerate().for_each(|(to, &from)| place[from as usize] = to);
        let mut values = vec![0f32; n * dim];
        for start in (0..n).step_by(BLOCK) {
            let block = finite_rows("training", features.rows, start, BLOCK)?;
            for (row, &to) in block.chunks_exact(dim).zip(&place[start..]) {
                values[to * dim..(to + 1) * dim].copy_from_slice(row);
            }
        }
        let mut mean = vec![0.0; dim];
        for row in values.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut scale = vec![0.0; dim];
        for row in values.chunks_exact(dim) {
            scale.iter_mut().zip(&mean).zip(row).for_each(|((s, m), &x)| *s += (f64::from(x) - m).powi(2));
        }
        // Rounding leaves a constant feature a variance of about 1e-14 of its square.
        let usable = |variance: f64, m: f64| variance > 1e-12 * m * m && variance > 0.0;
        scale.iter_mut().zip(&mean).for_each(|(s, &m)| {
            let variance = *s / n as f64;
            *s = if usable(variance, m) { variance.sqrt().recip() } else { 0.0 };
        });
        standardise(&mut values, &mean, &scale);
        let rows = Tensor::from_vec(values, (n, dim), &Device::Cpu)?;
        let labels = order.iter().map(|&row| features.labels[row as usize]).collect();
        Ok(Self { rows, labels, mean, scale })
    }

    /// Some of the rows and their classes.
    fn part(&self, range: Range<usize>) -> Result<(Tensor, &[u32]), EvalError> {
        Ok((self.rows.narrow(0, range.start, range.len())?, &self.labels[range]))
    }

    /// The fit of the first `count` rows.
    fn problem(&self, count: usize, classes: usize) -> Result<Problem<'_>, EvalError> {
        let (rows, labels) = self.part(0..count)?;
        Ok(Problem { dim: self.mean.len(), rows, labels, classes })
    }

    /// Logits of other features by the same mean and variance, row-major.
    fn scores(&self, features: &dyn FeatureRows, weights: &[f64], classes: usize) -> Result<Vec<f64>, EvalError> {
        let mut scores = Vec::with_capacity(features.len() * classes);
        for start in (0..features.len()).step_by(BLOCK) {
            let mut block = finite_rows("test", features, start, BLOCK)?;
            standardise(&mut block, &self.mean, &self.scale);
            let rows = Tensor::from_vec(block, ((), features.dim()), &Device::Cpu)?;
            scores.extend(logits(&rows, weights, classes)?);
        }
        Ok(scores)
    }
}

fn standardise(values: &mut [f32], mean: &[f64], scale: &[f64]) {
    values.par_chunks_exact_mut(mean.len()).for_each(|row| {
        row.iter_mut().zip(mean.iter().zip(scale)).for_each(|(x, (m, s))| *x = ((f64::from(*x) - m) * s) as f32);
    });
}

/// Logits of standardised rows, row-major. Weights are one vector: `classes x dim`, then the biases.
fn logits(rows: &Tensor, weights: &[f64], classes: usize) -> Result<Vec<f64>, EvalError> {
    let dim = rows.dim(1)?;
    let (matrix, bias) = weights.split_at(classes * dim);
    let matrix = Tensor::from_iter(matrix.iter().map(|&w| w as f32), &Device::Cpu)?.reshape((classes, dim))?;
    let products = rows.matmul(&matrix.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(products.iter().zip(bias.iter().cycle()).map(|(&product, bias)| f64::from(product) + bias).collect())
}

/// Standardised rows to fit.
struct Problem<'a> {
    rows: Tensor,
    labels: &'a [u32],
    classes: usize,
    dim: usize,
}

impl Problem<'_> {
    /// The objective and its gradient. Products are in single precision within a block of rows, all else in double.
    fn objective(&self, weights: &[f64], lambda: f64) -> Result<(f64, Vec<f64>), EvalError> {
        let (classes, dim, n) = (self.classes, self.dim, self.labels.len() as f64);
        let mut gradient = vec![0.0; weights.len()];
        let mut loss = 0.0;
        for (block, labels) in self.labels.chunks(BLOCK).enumerate() {
            let x = self.rows.narrow(0, block * BLOCK, labels.len())?;
            let mut residual = logits(&x, weights, classes)?;
            let losses: Vec<f64> = residual
                .par_chunks_exact_mut(classes)
                .zip(labels)
                .map(|(logits, &label)| softmax_residual(logits, label as usize))
                .collect();
            loss += losses.iter().sum::<f64>();
            for residual in residual.chunks_exact(classes) {
                gradient[classes * dim..].iter_mut().zip(residual).for_each(|(g, r)| *g += r / n);
            }
            let residual = Tensor::from_iter(residual.iter().map(|&r| r as f32), &Device::Cpu)?;
            let product =
                residual.reshape((labels.len(), classes))?.t()?.matmul(&x)?.flatten_all()?.to_vec1::<f32>()?;
            gradient.iter_mut().zip(product).for_each(|(g, p)| *g += f64::from(p) / n);
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
            .and_then(|solver| solver.with_tolerance_cost(TOLERANCE))
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
