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
/// [`infer_config`] does. Its head may be any of [`HeadConfig`](crate::HeadConfig), a classifier of one linear layer, or none.
///
/// # Errors
/// Lists every tensor that is missing, unexpected or of another shape.
pub fn check(tensors: &HashMap<String, Tensor>) -> Result<ModelConfig, ModelError> {
    let config = infer_config(tensors)?;
    let compute = Compute { backend: Backend::Portable, ..Compute::default() };
    let encoder = Encoder::new(&config, compute, 0, &Device::Cpu)?;
    if tensors.keys().any(|name| head::owns(name)) {
        encoder.load_state_dict(tensors)?;
    } else {
        encoder.load_backbone(tensors)?;
    }
    Ok(config)
}
