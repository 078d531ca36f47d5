//! Which network a set of tensors is, from their names and shapes.

use crate::config::{Arch, ModelConfig, Stem};
use crate::error::{ModelError, Result};
use candle_core::Tensor;
use std::collections::HashMap;

/// The configuration of the network whose weights these are (torchvision's names): architecture, width and stem from
/// the convolutions, `dim` from the projection head `fc.2` (the default, 128, where there is none). Initialisation is
/// left at its default.
///
/// # Errors
/// Lists the convolutions that are missing or have another shape than the nearest network's; or the blocks are those of
/// no network that this crate has.
pub fn infer_config(tensors: &HashMap<String, Tensor>) -> Result<ModelConfig> {
    let dims = |name: &str| tensors.get(name).map(Tensor::dims);
    let stem_dims = dims("conv1.weight").ok_or_else(|| unfit("conv1.weight is missing"))?;
    let (base, stem) = match *stem_dims {
        [base, 3, 7, 7] => (base, Stem::Imagenet),
        [base, 3, 3, 3] => (base, Stem::Cifar),
        _ => {
            return Err(unfit(format!("conv1.weight has shape {stem_dims:?} instead of (C, 3, 7, 7) or (C, 3, 3, 3)")));
        }
    };
    let blocks = [1, 2, 3, 4].map(|stage| {
        (0..).take_while(|block| tensors.contains_key(&format!("layer{stage}.{block}.conv1.weight"))).count()
    });
    let bottleneck = tensors.contains_key("layer1.0.conv3.weight");
    let inner = match dims("layer1.0.conv1.weight") {
        Some(&[inner, ..]) if bottleneck && inner == 2 * base => 2,
        _ => 1,
    };
    let arch = Arch::ALL
        .into_iter()
        .find(|a| a.blocks() == blocks && a.bottleneck() == bottleneck && a.inner_width() == inner)
        .ok_or_else(|| {
            let kind = if bottleneck { "bottlenecks" } else { "basic blocks" };
            unfit(format!("no known network has {} {kind} in its four stages", blocks.map(|b| b.to_string()).join("-")))
        })?;
    let dim = match dims("fc.2.weight") {
        Some(&[dim, _]) => dim,
        Some(other) => return Err(unfit(format!("fc.2.weight has shape {other:?} instead of two dimensions"))),
        None => ModelConfig::default().dim,
    };
    let config = ModelConfig { arch, width: base as f64 / 64.0, stem, dim, ..ModelConfig::default() };
    config.validate()?;
    if let Some(&[_, inputs]) = dims("fc.2.weight")
        && inputs != config.feature_dim()
    {
        let features = config.feature_dim();
        return Err(unfit(format!("fc.2.weight has shape {:?} instead of [{dim}, {features}]", [dim, inputs])));
    }
    check_convolutions(&config, tensors)?;
    Ok(config)
}

/// Checks the blocks' convolutions, which are nearly all of a network: building it then needs no more memory than the
/// tensors have.
fn check_convolutions(config: &ModelConfig, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let mut differences = Vec::new();
    let mut c_in = config.base_width();
    for (stage, blocks) in config.arch.blocks().into_iter().enumerate() {
        let width = config.base_width() << stage;
        let c_out = width * config.arch.expansion();
        let inner = width * config.arch.inner_width();
        for block in 0..blocks {
            let shapes = if config.arch.bottleneck() {
                vec![[inner, c_in, 1, 1], [inner, inner, 3, 3], [c_out, inner, 1, 1]]
            } else {
                vec![[width, c_in, 3, 3], [c_out, width, 3, 3]]
            };
            for (i, expected) in shapes.into_iter().enumerate() {
                let name = format!("layer{}.{block}.conv{}.weight", stage + 1, i + 1);
                match tensors.get(&name).map(Tensor::dims) {
                    Some(dims) if dims == expected => {}
                    Some(dims) => differences.push(format!("{name} has shape {dims:?} instead of {expected:?}")),
                    None => differences.push(format!("{name} is missing")),
                }
            }
            c_in = c_out;
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(unfit(differences.join("; "))) }
}

fn unfit(difference: impl Into<String>) -> ModelError {
    ModelError::StateDict(difference.into())
}
