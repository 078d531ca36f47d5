//! What moves the query encoder: SGD as in the paper, or LARS or AdamW.

mod adamw;
mod clip;
mod lars;

use crate::error::{Result, TrainError};
use candle_core::{Tensor, Var};
use clsa_model::{Gradients, Parameter, SgdUpdate};
use clsa_run::{OptimConfig, OptimizerKind};

/// An optimizer and its state.
///
/// # Examples
/// ```
/// use clsa_run::{OptimConfig, OptimizerKind};
/// use clsa_train::Optimizer;
/// use clsa_train::candle_core::Device;
/// use clsa_model::{Arch, Compute, Encoder, Gradients, ModelConfig, Stem};
///
/// let model = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
/// let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu)?;
/// let adamw = OptimConfig { kind: OptimizerKind::Adamw, exclude_norm_and_bias: true, ..OptimConfig::default() };
/// let mut optimizer = Optimizer::new(encoder.parameters(), &adamw)?;
/// # let gradients = Gradients::new(encoder.parameters().len());
/// optimizer.step(encoder.parameters(), &gradients, 1e-3, 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Optimizer {
    config: OptimConfig,
    /// For each kind of state that the optimizer has, one of each parameter, by name.
    state: Vec<(String, Var)>,
}

/// A parameter that has a gradient.
struct Update<'a> {
    weight: &'a Var,
    /// Its states, one of each kind.
    state: Vec<&'a Var>,
    gradient: Tensor,
    weight_decay: f64,
    /// Whether it is the scale or shift of a norm, or a bias.
    is_vector: bool,
}

impl Optimizer {
    /// An optimizer at rest for these parameters.
    ///
    /// # Errors
    /// A tensor cannot be allocated.
    pub fn new(parameters: &[Parameter], config: &OptimConfig) -> Result<Self> {
        let mut state = Vec::new();
        for part in parts(config.kind) {
            for Parameter { name, var, .. } in parameters {
                state.push((format!("{name}{part}"), Var::zeros(var.shape(), var.dtype(), var.device())?));
            }
        }
        Ok(Self { config: config.clone(), state })
    }

    /// One update of every parameter that has a gradient, after `steps` updates before.
    ///
    /// # Errors
    /// A gradient does not fit its parameter.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &Gradients, lr: f64, steps: u64) -> Result<()> {
        let config = &self.config;
        let mut updates = Vec::with_capacity(parameters.len());
        for (index, (parameter, gradient)) in parameters.iter().zip(gradients.iter()).enumerate() {
            let Some(gradient) = gradient else { continue };
            if gradient.shape() != parameter.var.shape() {
                let (parameter, gradient) = (parameter.name.clone(), gradient.dims().to_vec());
                return Err(TrainError::Update { parameter, gradient });
            }
            let is_vector = parameter.var.rank() <= 1;
            let is_excluded = is_vector && config.exclude_norm_and_bias;
            updates.push(Update {
                weight: &parameter.var,
                state: self.state.iter().skip(index).step_by(parameters.len()).map(|(_, var)| var).collect(),
                gradient: gradient.clone(),
                weight_decay: if is_excluded { 0.0 } else { config.weight_decay },
                is_vector,
            });
        }
        if config.clip_norm > 0.0 {
            clip::clip(&mut updates, config.clip_norm)?;
        }
        match config.kind {
            OptimizerKind::Sgd => sgd(&updates, config, lr),
            OptimizerKind::Lars => lars::step(&updates, config, lr),
            OptimizerKind::Adamw => adamw::step(&updates, config, lr, steps),
        }
    }

    /// Everything that changes, by name, for checkpoints.
    pub fn state(&self) -> &[(String, Var)] {
        &self.state
    }
}

/// What the names of an optimizer's states end with, one for each kind of state.
fn parts(kind: OptimizerKind) -> &'static [&'static str] {
    match kind {
        // The velocity.
        OptimizerKind::Sgd | OptimizerKind::Lars => &[""],
        OptimizerKind::Adamw => &[".exp_avg", ".exp_avg_sq"],
    }
}

/// SGD with momentum (`torch.optim.SGD`: the first velocity is the first gradient).
fn sgd(updates: &[Update], config: &OptimConfig, lr: f64) -> Result<()> {
    for weight_decay in [config.weight_decay, 0.0] {
        let of_it = updates.iter().filter(|update| update.weight_decay == weight_decay);
        let all: Vec<_> = of_it.map(|update| (update.weight, update.state[0], &update.gradient)).collect();
        SgdUpdate { lr, momentum: config.momentum, weight_decay }.apply_all(&all)?;
        if config.weight_decay == 0.0 {
            break;
        }
    }
    Ok(())
}
