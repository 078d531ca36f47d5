//! Heads of other methods, which this project does not have: they are left out where the backbone is read.

use super::infer_config;
use crate::batch_count::is_batch_count;
use crate::head;
use candle_core::Tensor;
use std::collections::HashMap;

/// What other methods call their heads, beside the backbone.
const NAMES: [&str; 17] = [
    "bn", // Barlow Twins, of its projections
    "classifier",
    "contrast_head",
    "fc",
    "head",
    "heads",
    "linear",
    "mlp",
    "neck",
    "prediction_head",
    "predictor",
    "proj_head",
    "projection",
    "projection_head",
    "projection_mlp",
    "projector",
    "prototypes",
];

/// Whether a tensor that is not under the backbone's prefix belongs to a head.
pub(super) fn is_beside(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split('.').collect();
    parts.pop();
    parts.into_iter().any(|part| NAMES.contains(&part.strip_prefix("momentum_").unwrap_or(part)))
}

/// Those of an encoder's names (torchvision's) that are of a head of another method.
pub(super) fn within<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let own: Vec<&str> = names.iter().copied().filter(|name| head::owns(name) && !is_batch_count(name)).collect();
    let is_own = head::is_of_this_project(&own);
    let foreign = |name: &str| {
        let first = name.split('.').next().unwrap_or_default();
        if head::owns(name) { !is_own } else { name.contains('.') && first != "bn" && NAMES.contains(&first) }
    };
    names.iter().copied().filter(|name| foreign(name)).collect()
}

/// Takes the head out of an encoder's tensors if its shapes are not those of a head of this project on this backbone. Where the
/// backbone is no known network, nothing is taken.
pub(super) fn remove_unfit(tensors: &mut HashMap<String, Tensor>) {
    let backbone = tensors.iter().filter(|(name, _)| !head::owns(name)).map(|(n, t)| (n.clone(), t.clone())).collect();
    let Ok(config) = infer_config(&backbone) else { return };
    if head::infer(tensors, config.feature_dim()).is_err() {
        tensors.retain(|name, _| !head::owns(name));
    }
}
