//! The projection head: features to embeddings of unit length. That of MoCo v2 and CLSA is `Linear(d, d) -> ReLU ->
//! Linear(d, dim)`; [`HeadConfig`] has the others.
//!
//! A state dictionary tells it from the backbone by the beginning of its names, [`PREFIX`].

mod graph;
mod infer;
mod pass;

pub(crate) use graph::HeadGraph;
pub(crate) use infer::{embedding_dim, infer, is_of_this_project};
pub(crate) use pass::HeadPass;

use crate::backbone::{BatchNorm, Builder, CandlePass, Mode};
use crate::error::{ModelError, Result};
pub use crate::head_config::{HeadConfig, MlpConfig};
use crate::parameters::Parameter;
use crate::portable::{batch_norm, relu};
use candle_core::{D, Tensor};
use candle_nn::{Init, Module};

/// What the names of a head's tensors begin with: `fc.0` and `fc.2` of the paper's projection head (the places of the layers in
/// torch's `Sequential`), [`LINEAR_WEIGHT`] and [`LINEAR_BIAS`] of one linear layer. Every other tensor is the backbone's.
pub const PREFIX: &str = "fc.";

/// The weight of a classifier, (classes, features), or of a head of one linear layer, (dim, features).
pub const LINEAR_WEIGHT: &str = "fc.weight";

/// The bias of a classifier, (classes), or of a head of one linear layer, (dim).
pub const LINEAR_BIAS: &str = "fc.bias";

/// Whether a tensor of a state dictionary belongs to the head.
///
/// # Examples
///
/// ```
/// use clsa_model::head;
///
/// assert!(head::owns("fc.2.bias") && head::owns(head::LINEAR_WEIGHT));
/// assert!(!head::owns("layer4.1.conv2.weight"));
/// ```
pub fn owns(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Rows are divided by their length, or by this where they are shorter (torch's `F.normalize`).
const SHORTEST: f32 = 1e-12;

/// A linear layer's parameters.
#[derive(Clone, Debug)]
struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// Initialized as torch's `nn.Linear`: uniform in plus or minus 1/sqrt(inputs).
    fn new(builder: &mut Builder, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let bound = 1.0 / (inputs as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        Ok(Self {
            weight: builder.parameter(format!("{name}.weight"), &[outputs, inputs], init)?,
            bias: builder.parameter(format!("{name}.bias"), &[outputs], init)?,
        })
    }

    /// In Candle's operations; where the pass is tracked, its `backward` reaches the parameters.
    fn forward(&self, x: &Tensor, pass: &CandlePass) -> Result<Tensor> {
        let [weight, bias] = [&self.weight, &self.bias].map(|parameter| pass.take(&parameter.var));
        Ok(candle_nn::Linear::new(weight, Some(bias)).forward(x)?)
    }
}

/// A hidden layer: linear, batch norm if there is one, ReLU.
#[derive(Clone, Debug)]
struct Hidden {
    linear: Linear,
    norm: Option<BatchNorm>,
}

impl Hidden {
    /// In Candle's operations, from rows (N, inputs) to rows (N, outputs).
    fn forward(&self, x: &Tensor, pass: &CandlePass, bn_splits: usize) -> Result<Tensor> {
        let x = self.linear.forward(x, pass)?;
        let Some(norm) = &self.norm else { return Ok(relu(&x)?) };
        let [weight, bias] = [&norm.weight, &norm.bias].map(|parameter| pass.take(&parameter.var));
        match pass.mode {
            Mode::Train => {
                let affine = Tensor::stack(&[weight, bias], 0)?;
                let (rows, width) = x.dims2()?;
                let x = x.reshape((rows, width, 1, 1))?;
                Ok(batch_norm(&x, &affine, None, true, norm, bn_splits)?.reshape((rows, width))?)
            }
            Mode::Eval => {
                let std = (norm.running_var.var.as_detached_tensor() + BatchNorm::EPS)?.sqrt()?;
                let centered = x.broadcast_sub(&norm.running_mean.var.as_detached_tensor())?;
                Ok(relu(&centered.broadcast_mul(&(weight / std)?)?.broadcast_add(&bias)?)?)
            }
        }
    }
}

/// The projection head's layers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    hidden: Vec<Hidden>,
    output: Linear,
}

impl Head {
    /// A head from `features` to `dim` components.
    ///
    /// # Errors
    /// A value of the configuration is out of range, as that of an architecture of one's own may be, or a tensor operation fails.
    pub fn new(builder: &mut Builder, config: HeadConfig, features: usize, dim: usize) -> Result<Self> {
        config.validate()?;
        if dim == 0 {
            return Err(ModelError::config("embedding_dim", dim, "use at least 1 component; features need no head"));
        }
        let mlp = match config {
            HeadConfig::Linear => {
                let name = PREFIX.trim_end_matches('.');
                return Ok(Self { hidden: Vec::new(), output: Linear::new(builder, name, features, dim)? });
            }
            HeadConfig::Mlp(mlp) => mlp,
        };
        let width = if mlp.hidden == 0 { features } else { mlp.hidden };
        let name = |layer: usize, part: usize| format!("{PREFIX}{}", layer * mlp.modules() + part);
        let mut hidden = Vec::new();
        let mut inputs = features;
        for layer in 0..mlp.layers - 1 {
            let linear = Linear::new(builder, &name(layer, 0), inputs, width)?;
            let norm = mlp.batch_norm.then(|| BatchNorm::new(builder, &name(layer, 1), width, 1.0)).transpose()?;
            hidden.push(Hidden { linear, norm });
            inputs = width;
        }
        Ok(Self { hidden, output: Linear::new(builder, &name(mlp.layers - 1, 0), inputs, dim)? })
    }

    /// Whether it has batch norm, so that it is computed in Candle's operations on every engine.
    pub fn has_norm(&self) -> bool {
        self.hidden.iter().any(|hidden| hidden.norm.is_some())
    }

    /// Features (N, d) to embeddings (N, dim) of unit length, in Candle's operations on any device. Batch norm is over
    /// `bn_splits` groups of the batch in training.
    ///
    /// # Errors
    /// The batch is too small for batch norm, or a tensor operation fails.
    pub fn forward(&self, features: &Tensor, pass: CandlePass, bn_splits: usize) -> Result<Tensor> {
        let mut x = features.clone();
        for hidden in &self.hidden {
            x = hidden.forward(&x, &pass, bn_splits)?;
        }
        normalize(&self.output.forward(&x, &pass)?)
    }

    /// As `forward`, for f32 features on the CPU and a head without batch norm, in this crate's kernels and with its own
    /// backward pass.
    pub fn pass(&self, features: &Tensor) -> Result<HeadPass> {
        HeadPass::new(self, features)
    }
}

/// Rows divided by their length, at least [`SHORTEST`].
fn normalize(x: &Tensor) -> Result<Tensor> {
    // Before the root, which has no slope at 0. The square is exact, or rounded once to f32, and its root is the bound again.
    let shortest = f64::from(SHORTEST) * f64::from(SHORTEST);
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.maximum(shortest)?.sqrt()?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests;
