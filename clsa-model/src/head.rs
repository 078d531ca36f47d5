//! The projection head of MoCo v2 and CLSA: `Linear(d, d) -> ReLU -> Linear(d, dim)`, then L2 normalisation.

use crate::error::Result;
use crate::params::{Builder, Init, Parameter};
use crate::portable::relu_of;
use candle_core::{D, Tensor};

#[derive(Clone, Debug)]
struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// Initialised as torch's `nn.Linear`: uniform in plus or minus 1/sqrt(inputs).
    fn new(builder: &mut Builder, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
        Ok(Self {
            weight: builder.parameter(format!("{name}.weight"), &[outputs, inputs], init)?,
            bias: builder.parameter(format!("{name}.bias"), &[outputs], init)?,
        })
    }

    fn forward(&self, x: &Tensor, track: bool) -> Result<Tensor> {
        let take = |p: &Parameter| if track { p.var.as_tensor().clone() } else { p.var.as_detached_tensor() };
        Ok(x.matmul(&take(&self.weight).t()?)?.broadcast_add(&take(&self.bias))?)
    }
}

/// The projection head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    hidden: Linear,
    output: Linear,
}

impl Head {
    pub fn new(builder: &mut Builder, features: usize, dim: usize) -> Result<Self> {
        Ok(Self {
            hidden: Linear::new(builder, "fc.0", features, features)?,
            output: Linear::new(builder, "fc.2", features, dim)?,
        })
    }

    /// Features (N, d) to embeddings (N, dim) of unit length. With `track`, Candle's `backward` reaches the parameters.
    pub fn forward(&self, features: &Tensor, track: bool) -> Result<Tensor> {
        let hidden = relu_of(&self.hidden.forward(features, track)?)?;
        normalize(&self.output.forward(&hidden, track)?)
    }
}

/// Rows divided by their length, at least 1e-12 (torch's `F.normalize`).
fn normalize(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12)?;
    Ok(x.broadcast_div(&length)?)
}
