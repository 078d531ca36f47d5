//! The named tensors of an encoder: what is trained, and what is kept beside it.

use candle_core::{Tensor, Var};

/// A trained tensor: its name is torchvision's, its index its place among the encoder's parameters and gradients.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// torchvision's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Place in [`crate::Encoder::parameters`] and [`crate::Gradients`].
    pub index: usize,
    /// The values.
    pub var: Var,
}

/// A tensor that is kept beside the parameters and not trained: a running mean or variance of batch norm.
#[derive(Clone, Debug)]
pub struct RunningStatistic {
    /// torchvision's name, such as `bn1.running_mean`.
    pub name: String,
    /// The values.
    pub var: Var,
}

/// What is wrong with the tensor of a name that should have these dimensions, if anything.
pub(crate) fn difference(name: &str, found: Option<&Tensor>, dims: &[usize]) -> Option<String> {
    match found.map(Tensor::dims) {
        None => Some(format!("{name} is missing")),
        Some(found) if found != dims => Some(format!("{name} has shape {found:?} instead of {dims:?}")),
        Some(_) => None,
    }
}
