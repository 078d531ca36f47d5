//! Whether tensors are a whole network.

use super::infer_config;
use crate::compute::{Backend, Compute};
use crate::config::ModelConfig;
use crate::encoder::Encoder;
use crate::error::ModelError;
use crate::head;
use candle_core::{Device, Tensor};
use std::collections::HashMap;

/// Checks that these are a whole network of this crate (torchvision's names), and gives its configuration as
/// [`infer_config`] does. Its head may be a projection head, one linear layer (a classifier's or MoCo v1's) or none.
///
/// # Errors
/// Lists every tensor that is missing, unexpected or of another shape.
pub fn check(tensors: &HashMap<String, Tensor>) -> Result<ModelConfig, ModelError> {
    let config = infer_config(tensors)?;
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    let encoder = Encoder::new(&config, compute, 0, &Device::Cpu)?;
    let linear = |name: &String| name == head::LINEAR_WEIGHT || name == head::LINEAR_BIAS;
    if tensors.keys().any(|name| head::owns(name) && !linear(name)) {
        encoder.load_state_dict(tensors)?;
    } else {
        encoder.load_backbone(tensors)?;
        check_linear(tensors, config.feature_dim())?;
    }
    Ok(config)
}

/// Checks `fc.weight` (classes, features) and `fc.bias` (classes), or that there is neither.
fn check_linear(tensors: &HashMap<String, Tensor>, features: usize) -> Result<(), ModelError> {
    let (weight_name, bias_name) = (head::LINEAR_WEIGHT, head::LINEAR_BIAS);
    let dims = [weight_name, bias_name].map(|name| tensors.get(name).map(Tensor::dims));
    let difference = match dims {
        [None, None] => return Ok(()),
        [Some(&[classes, inputs]), Some(&[biases])] if inputs == features && biases == classes => return Ok(()),
        [Some(weight), Some(bias)] => format!(
            "{weight_name} has shape {weight:?} and {bias_name} {bias:?} instead of [classes, {features}] and [classes]"
        ),
        [None, Some(_)] => format!("{weight_name} is missing"),
        [Some(_), None] => format!("{bias_name} is missing"),
    };
    Err(ModelError::StateDict(difference))
}
