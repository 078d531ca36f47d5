//! SGD with momentum and weight decay over all parameters of the query encoder, and its cosine schedule.

use anyhow::{Context, Result};
use candle_core::Var;
use clsa_model::{Gradients, Parameter, SgdUpdate};
use std::f64::consts::PI;

/// SGD with momentum (torch's: the first velocity is the first gradient).
#[derive(Debug)]
pub struct MomentumSgd {
    momentum: f64,
    weight_decay: f64,
    velocity: Vec<Var>,
}

impl MomentumSgd {
    /// An optimiser at rest for these parameters.
    ///
    /// # Errors
    /// A tensor cannot be allocated.
    pub fn new(parameters: &[Parameter], momentum: f64, weight_decay: f64) -> Result<Self> {
        let velocity = parameters.iter().map(|p| Var::zeros(p.var.shape(), p.var.dtype(), p.var.device()));
        Ok(Self { momentum, weight_decay, velocity: velocity.collect::<candle_core::Result<_>>()? })
    }

    /// One update of every parameter that has a gradient.
    ///
    /// # Errors
    /// A gradient does not fit its parameter.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &Gradients, lr: f64) -> Result<()> {
        let update = SgdUpdate { lr, momentum: self.momentum, weight_decay: self.weight_decay };
        // The thread pool is entered once, not for each parameter.
        rayon::scope(|_| {
            for ((parameter, velocity), gradient) in parameters.iter().zip(&self.velocity).zip(gradients.iter()) {
                if let Some(gradient) = gradient {
                    update
                        .apply(&parameter.var, velocity, gradient)
                        .with_context(|| format!("updating {}", parameter.name))?;
                }
            }
            Ok(())
        })
    }

    /// The velocities, in the order of the parameters.
    pub fn velocity(&self) -> &[Var] {
        &self.velocity
    }
}

/// The learning rate of an epoch: `lr·½(1 + cos(π·epoch/epochs))`.
pub fn cosine(lr: f64, epoch: u64, epochs: u64) -> f64 {
    lr * 0.5 * (1.0 + (PI * epoch as f64 / epochs as f64).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_the_rate_and_ends_at_zero() {
        assert_eq!(cosine(0.03, 0, 200), 0.03);
        assert!((cosine(0.03, 100, 200) - 0.015).abs() < 1e-15);
        assert!(cosine(0.03, 200, 200).abs() < 1e-15);
    }
}
