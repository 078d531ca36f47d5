//! Which network a set of tensors is, from their names and shapes.

use crate::arch::{Arch, Family};
use crate::backbone::resnet_shape::{Block, Branch, ResNetShape};
use crate::config::{ModelConfig, Stem};
use crate::error::{ModelError, Result};
use crate::head;
use crate::parameters::difference;
use candle_core::Tensor;
use std::collections::HashMap;

/// The configuration of the network whose weights these are (torchvision's names): architecture, width and stem from
/// the convolutions, head and `dim` from the tensors `fc.*` (the defaults where there are none; a classifier of one linear
/// layer is a linear head with a component for each class). Initialization is left at its default.
///
/// # Errors
/// Lists the convolutions, or the head's tensors, that are missing or have another shape than the nearest network's; or the
/// blocks are those of no network that this crate has.
pub fn infer_config(tensors: &HashMap<String, Tensor>) -> Result<ModelConfig> {
    let dims = |name: &str| tensors.get(name).map(Tensor::dims);
    let stem_dims = dims("conv1.weight").ok_or_else(|| unfit(without_stem(tensors)))?;
    let (base_width, stem) = match *stem_dims {
        [base_width, 3, 7, 7] => (base_width, Stem::Imagenet),
        [base_width, 3, 3, 3] => (base_width, Stem::Cifar),
        _ => {
            return Err(unfit(format!("conv1.weight has shape {stem_dims:?} instead of (C, 3, 7, 7) or (C, 3, 3, 3)")));
        }
    };
    let shape = resnet_shape(tensors, base_width);
    let arch = Arch::ALL.into_iter().find(|arch| arch.family() == Family::ResNet(shape)).ok_or_else(|| {
        let kind = match shape.block {
            Block::Basic => "basic blocks",
            Block::Bottleneck { inner_width: 1 } => "bottlenecks",
            Block::Bottleneck { .. } => "bottlenecks of twice the width",
        };
        let blocks = shape.blocks.map(|b| b.to_string()).join("-");
        unfit(format!("no known network has {blocks} {kind} in its four stages"))
    })?;
    let backbone = ModelConfig { arch, width: base_width as f64 / 64.0, stem, ..ModelConfig::default() };
    backbone.validate()?;
    let config = match head::infer(tensors, backbone.feature_dim()) {
        Ok(None) => backbone,
        Ok(Some((head, dim))) => ModelConfig { head, dim, ..backbone },
        Err(differences) => return Err(unfit(differences.join("; "))),
    };
    config.validate()?;
    check_convolutions(shape, base_width, tensors)?;
    Ok(config)
}

/// The blocks that there are, and their kind as far as the first tells it.
fn resnet_shape(tensors: &HashMap<String, Tensor>, base_width: usize) -> ResNetShape {
    let blocks = [1, 2, 3, 4].map(|stage| {
        (0..).take_while(|block| tensors.contains_key(&format!("layer{stage}.{block}.conv1.weight"))).count()
    });
    let block = if tensors.contains_key("layer1.0.conv3.weight") {
        let inner = tensors.get("layer1.0.conv1.weight").and_then(|weight| weight.dims().first().copied());
        Block::Bottleneck { inner_width: if inner == Some(2 * base_width) { 2 } else { 1 } }
    } else {
        Block::Basic
    };
    ResNetShape { blocks, block }
}

/// Checks the blocks' convolutions, which are nearly all of a network: building it then needs no more memory than the
/// tensors have.
fn check_convolutions(shape: ResNetShape, base_width: usize, tensors: &HashMap<String, Tensor>) -> Result<()> {
    let mut differences = Vec::new();
    let mut c_in = base_width;
    for (stage, blocks) in shape.blocks.into_iter().enumerate() {
        for block in 0..blocks {
            let Branch { inner, last } = shape.branch(base_width, stage, c_in, 1);
            for (i, conv) in inner.into_iter().chain([last]).enumerate() {
                let name = format!("layer{}.{block}.conv{}.weight", stage + 1, i + 1);
                let expected = [conv.c_out, conv.c_in, conv.kernel, conv.kernel];
                differences.extend(difference(&name, tensors.get(&name), &expected));
            }
            c_in = shape.channels(base_width, stage);
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(unfit(differences.join("; "))) }
}

/// That the first convolution is missing, and what all names begin with, which may be why.
fn without_stem(tensors: &HashMap<String, Tensor>) -> String {
    let mut names = tensors.keys();
    let mut common: Vec<&str> = names.next().map(|name| name.split('.').collect()).unwrap_or_default();
    common.pop();
    for name in names {
        let same = common.iter().zip(name.split('.')).take_while(|(a, b)| **a == *b).count();
        common.truncate(same);
    }
    match common[..] {
        [] => "conv1.weight is missing".to_owned(),
        _ => format!(
            "conv1.weight is missing; all names begin with {}., and what follows it is no known network",
            common.join(".")
        ),
    }
}

fn unfit(difference: impl Into<String>) -> ModelError {
    ModelError::StateDict(difference.into())
}
