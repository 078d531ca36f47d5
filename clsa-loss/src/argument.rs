//! The tensors of a loss, as messages name them.

use std::fmt;

/// An argument of the loss that holds embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The weak view of this number.
    Weak(usize),
    /// The strong view of this number.
    Strong(usize),
    /// The keys.
    Keys,
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weak(i) => write!(f, "weak[{i}]"),
            Self::Strong(j) => write!(f, "strong[{j}]"),
            Self::Keys => f.write_str("keys"),
        }
    }
}
