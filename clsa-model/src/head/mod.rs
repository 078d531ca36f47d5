//! The projection head of MoCo v2 and CLSA: `Linear(d, d) -> ReLU -> Linear(d, dim)`, then L2 normalization.
//!
//! A state dictionary tells it from the backbone by the beginning of its names, [`PREFIX`].

mod pass;

pub(crate) use pass::HeadPass;

use crate::backbone::Builder;
use crate::error::Result;
use crate::parameters::Parameter;
use crate::portable::relu;
use candle_core::{D, Tensor};
use candle_nn::{Init, Module};

/// What the names of a head's tensors begin with: `fc.0` and `fc.2` of a projection head, [`LINEAR_WEIGHT`] and
/// [`LINEAR_BIAS`] of a classifier. Every other tensor is the backbone's.
pub const PREFIX: &str = "fc.";

/// The weight of a classifier, or of MoCo v1's head of one linear layer: (classes, features).
pub const LINEAR_WEIGHT: &str = "fc.weight";

/// The bias of a classifier, (classes).
pub const LINEAR_BIAS: &str = "fc.bias";

/// The weight of the projection head's last layer: (dim, features).
pub(crate) const PROJECTION_WEIGHT: &str = "fc.2.weight";

const HIDDEN: &str = "fc.0";
const OUTPUT: &str = "fc.2";

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

    /// In Candle's operations; with `track`, its `backward` reaches the parameters.
    fn forward(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let take = |p: &Parameter| if track { p.var.as_tensor().clone() } else { p.var.as_detached_tensor() };
        Ok(candle_nn::Linear::new(take(&self.weight), Some(take(&self.bias))).forward(x)?)
    }
}

/// The projection head's parameters.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    hidden: Linear,
    output: Linear,
}

impl Head {
    pub fn new(builder: &mut Builder, features: usize, dim: usize) -> Result<Self> {
        Ok(Self {
            hidden: Linear::new(builder, HIDDEN, features, features)?,
            output: Linear::new(builder, OUTPUT, features, dim)?,
        })
    }

    /// Features (N, d) to embeddings (N, dim) of unit length, in Candle's operations on any device.
    pub fn forward(&self, features: &Tensor, track: bool) -> Result<Tensor> {
        let hidden = relu(&self.hidden.forward(features, track)?)?;
        normalize(&self.output.forward(&hidden, track)?)
    }

    /// As `forward`, for f32 features on the CPU, in this crate's kernels and with its own backward pass.
    pub fn pass(&self, features: &Tensor) -> Result<HeadPass> {
        HeadPass::new(self, features)
    }
}

/// Rows divided by their length, at least [`SHORTEST`].
fn normalize(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(f64::from(SHORTEST))?;
    Ok(x.broadcast_div(&length)?)
}

#[cfg(test)]
mod tests;
