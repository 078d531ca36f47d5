//! Which head a set of tensors has, from their names and shapes.

use super::{HeadConfig, LINEAR_BIAS, LINEAR_WEIGHT, MlpConfig, PREFIX, owns};
use crate::batch_count::is_batch_count;
use crate::parameters::difference;
use candle_core::Tensor;
use std::collections::HashMap;

/// Whether the names (without batch counts) are all those of a head of this project.
pub(crate) fn is_of_this_project(names: &[&str]) -> bool {
    form(names).is_some()
}

/// The size of the embedding that a head's tensors give, if there is a head.
pub(crate) fn embedding_dim(tensors: &HashMap<String, Tensor>) -> Option<usize> {
    let weights = tensors.iter().filter(|(name, _)| owns(name) && name.ends_with(".weight"));
    let linear = weights.filter(|(_, weight)| weight.rank() == 2);
    let (_, last) = linear.max_by_key(|(name, _)| layer_number(name))?;
    last.dims().first().copied()
}

/// The head that the tensors have and the size of its embedding, or what is wrong with it; none where there is no head.
pub(crate) fn infer(
    tensors: &HashMap<String, Tensor>,
    features: usize,
) -> Result<Option<(HeadConfig, usize)>, Vec<String>> {
    let names: Vec<&str> =
        tensors.keys().map(String::as_str).filter(|name| owns(name) && !is_batch_count(name)).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let form = form(&names).unwrap_or_else(|| nearest(&names));
    let dims = |name: &str| tensors.get(name).map_or(&[][..], Tensor::dims);
    let dim = embedding_dim(tensors).unwrap_or_default();
    let form = match form {
        HeadConfig::Linear => form,
        HeadConfig::Mlp(mlp) => {
            let hidden = dims(&format!("{PREFIX}0.bias")).first().copied().unwrap_or_default();
            HeadConfig::Mlp(MlpConfig { hidden: if hidden == features { 0 } else { hidden }, ..mlp })
        }
    };
    let expected = shapes(form, features, dim);
    let wrong = expected.iter().filter_map(|(name, shape)| difference(name, tensors.get(name), shape));
    let mut differences: Vec<String> = wrong.collect();
    let mut unexpected: Vec<&str> =
        names.into_iter().filter(|name| expected.iter().all(|(other, _)| other != name)).collect();
    unexpected.sort_unstable();
    differences.extend(unexpected.iter().map(|name| format!("{name} is unexpected")));
    if differences.is_empty() { Ok(Some((form, dim))) } else { Err(differences) }
}

/// The head whose tensors have exactly these names; hidden layers have no size yet.
fn form(names: &[&str]) -> Option<HeadConfig> {
    let matches = |config: &HeadConfig| {
        let expected = shapes(*config, 1, 1);
        expected.len() == names.len() && expected.iter().all(|(name, _)| names.contains(&name.as_str()))
    };
    forms().find(matches)
}

/// The head that shares the most names with these.
fn nearest(names: &[&str]) -> HeadConfig {
    let shared = |config: &HeadConfig| {
        let expected = shapes(*config, 1, 1);
        let common = expected.iter().filter(|(name, _)| names.contains(&name.as_str())).count();
        2 * common as i64 - expected.len() as i64
    };
    // Of equals the first, which is the simplest.
    forms().rev().max_by_key(shared).expect("there are forms")
}

/// Every head, apart from sizes, the simplest first.
fn forms() -> impl DoubleEndedIterator<Item = HeadConfig> {
    let mlps = MlpConfig::LAYERS.flat_map(|layers| {
        [false, true].map(|batch_norm| HeadConfig::Mlp(MlpConfig { hidden: 0, layers, batch_norm }))
    });
    [HeadConfig::Linear].into_iter().chain(mlps)
}

/// Names and shapes of a head's parameters and running statistics.
fn shapes(config: HeadConfig, features: usize, dim: usize) -> Vec<(String, Vec<usize>)> {
    let linear = |name: &str, inputs, outputs| {
        [(format!("{name}.weight"), vec![outputs, inputs]), (format!("{name}.bias"), vec![outputs])]
    };
    let HeadConfig::Mlp(mlp) = config else {
        return vec![(LINEAR_WEIGHT.to_owned(), vec![dim, features]), (LINEAR_BIAS.to_owned(), vec![dim])];
    };
    let width = if mlp.hidden == 0 { features } else { mlp.hidden };
    let mut shapes = Vec::new();
    let mut inputs = features;
    for layer in 0..mlp.layers - 1 {
        let at = layer * mlp.modules();
        shapes.extend(linear(&format!("{PREFIX}{at}"), inputs, width));
        if mlp.batch_norm {
            let norm = ["weight", "bias", "running_mean", "running_var"];
            shapes.extend(norm.map(|part| (format!("{PREFIX}{}.{part}", at + 1), vec![width])));
        }
        inputs = width;
    }
    shapes.extend(linear(&format!("{PREFIX}{}", (mlp.layers - 1) * mlp.modules()), inputs, dim));
    shapes
}

/// The place of a layer in torch's `Sequential`; 0 for a head of one layer.
fn layer_number(name: &str) -> usize {
    name.split('.').nth(1).and_then(|part| part.parse().ok()).unwrap_or_default()
}
