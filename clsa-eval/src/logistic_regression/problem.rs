//! The objective of logistic regression, and its minimum by L-BFGS.

use crate::EvalError;
use argmin::core::{CostFunction, Executor, Gradient, State, TerminationReason, TerminationStatus};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows that are worked on at a time.
pub(super) const BLOCK: usize = 1024;
/// Corrections that L-BFGS remembers.
const HISTORY: usize = 10;
/// The search for weights ends when an iteration lowers the objective by less. Accuracies are then within 0.2 points of the
/// optimum's, where the search ends by that.
const TOLERANCE: f64 = 1e-7;

/// Logits of standardized rows, row-major. Weights are one vector: `classes x dim`, then the biases.
pub(super) fn logits(rows: &Tensor, weights: &[f64], classes: usize) -> Result<Vec<f64>, EvalError> {
    let dim = rows.dim(1)?;
    let (matrix, bias) = weights.split_at(classes * dim);
    let matrix = Tensor::from_iter(matrix.iter().map(|&w| w as f32), &Device::Cpu)?.reshape((classes, dim))?;
    let products = rows.matmul(&matrix.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(products.iter().zip(bias.iter().cycle()).map(|(&product, bias)| f64::from(product) + bias).collect())
}

/// What [`Problem::fit`] gives.
pub(super) struct Fit {
    pub weights: Vec<f64>,
    /// Whether the search ended at the minimum: neither at its last iteration, nor where a line found nothing lower.
    pub is_minimum: bool,
}

/// Standardized rows to fit.
pub(super) struct Problem<'a> {
    pub rows: Tensor,
    pub labels: &'a [u32],
    pub classes: usize,
    pub dim: usize,
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

    /// Minimizes the objective from `start` on.
    pub fn fit(&self, lambda: f64, max_iterations: u64, start: Vec<f64>) -> Result<Fit, EvalError> {
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
        let is_minimum = matches!(
            result.state.get_termination_status(),
            TerminationStatus::Terminated(TerminationReason::SolverConverged)
        );
        match result.state.get_best_param() {
            Some(weights) => Ok(Fit { weights: weights.clone(), is_minimum }),
            None => Err(EvalError::Optimizer { lambda, reason: "it found no weights".to_owned() }),
        }
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
struct Evaluated {
    weights: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

/// The objective as argmin asks for it: value and gradient separately, mostly at the same point.
struct Objective<'a> {
    problem: &'a Problem<'a>,
    lambda: f64,
    last: RefCell<Option<Evaluated>>,
}

impl Objective<'_> {
    fn at<T>(&self, weights: &[f64], part: impl FnOnce(&Evaluated) -> T) -> Result<T, argmin::core::Error> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some(evaluated) if evaluated.weights == weights => Ok(part(evaluated)),
            Some(_) | None => {
                let (cost, gradient) = self.problem.objective(weights, self.lambda)?;
                Ok(part(last.insert(Evaluated { weights: weights.to_vec(), cost, gradient })))
            }
        }
    }
}

impl CostFunction for Objective<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, weights: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        self.at(weights, |evaluated| evaluated.cost)
    }
}

impl Gradient for Objective<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, weights: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        self.at(weights, |evaluated| evaluated.gradient.clone())
    }
}
