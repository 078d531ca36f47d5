//! SGD with momentum and weight decay over all parameters of the query encoder.

use crate::error::{Result, TrainError};
use candle_core::Var;
use clsa_model::{Gradients, Parameter, SgdUpdate};

/// SGD with momentum (`torch.optim.SGD`: the first velocity is the first gradient).
#[derive(Debug)]
pub struct MomentumSgd {
    momentum: f64,
    weight_decay: f64,
    velocity: Vec<Var>,
}

impl MomentumSgd {
    /// An optimizer at rest for these parameters.
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
        let mut all = Vec::with_capacity(parameters.len());
        for ((parameter, velocity), gradient) in parameters.iter().zip(&self.velocity).zip(gradients.iter()) {
            let Some(gradient) = gradient else { continue };
            if gradient.shape() != parameter.var.shape() {
                let (parameter, gradient) = (parameter.name.clone(), gradient.dims().to_vec());
                return Err(TrainError::Update { parameter, gradient });
            }
            all.push((&parameter.var, velocity, gradient));
        }
        Ok(update.apply_all(&all)?)
    }

    /// The velocities, in the order of the parameters.
    pub fn velocity(&self) -> &[Var] {
        &self.velocity
    }
}
