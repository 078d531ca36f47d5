//! What is on a tape: activations, and the steps of the pass, in their order.

use super::kernels::{Kernels, Normalized, Source};
use crate::backbone::ConvBn;
use crate::kernels::{BatchShape, ConvShape};
use std::sync::Arc;

/// An activation of the pass.
pub(super) struct Node<K: Kernels> {
    /// Place among the gradients of the pass; images have none.
    pub gradient: Option<usize>,
    pub shape: BatchShape,
    pub values: Values<K>,
}

impl<K: Kernels> Clone for Node<K> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), ..*self }
    }
}

impl<K: Kernels> Node<K> {
    /// N, C, H, W.
    pub fn dims(&self) -> [usize; 4] {
        dims(self.shape)
    }

    pub fn reference(&self) -> Reference {
        Reference { gradient: self.gradient, shape: self.shape }
    }
}

/// N, C, H, W.
pub(super) fn dims(shape: BatchShape) -> [usize; 4] {
    [shape.batch, shape.channels, shape.height, shape.width]
}

/// An activation whose values the backward pass does not need.
pub(super) struct Reference {
    pub gradient: Option<usize>,
    pub shape: BatchShape,
}

/// What is in memory of an activation.
pub(super) enum Values<K: Kernels> {
    Stored(Arc<K::Memory>),
    /// A convolution's output, normalized by its readers.
    Normalized(Arc<Normalized<K>>),
}

impl<K: Kernels> Clone for Values<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Stored(values) => Self::Stored(Arc::clone(values)),
            Self::Normalized(own) => Self::Normalized(Arc::clone(own)),
        }
    }
}

impl<K: Kernels> Values<K> {
    pub fn source(&self) -> Source<'_, K> {
        match self {
            Self::Stored(values) => Source::Stored(values.as_ref()),
            Self::Normalized(own) => Source::Normalized(own),
        }
    }
}

/// A step of the pass, with what its backward step needs. `y` is the place of the result's gradient.
#[allow(clippy::large_enum_variant)] // nearly all records are of the large kind
pub(super) enum Record<K: Kernels> {
    ConvBn {
        x: Node<K>,
        unit: ConvBn,
        shape: ConvShape,
        /// The unit's own part of the result, before the residual.
        own: Arc<Normalized<K>>,
        residual: Option<Residual<K>>,
        y: Option<usize>,
    },
    MaxPool {
        x: Reference,
        choices: K::Choices,
        y: Option<usize>,
    },
    GlobalAvgPool {
        x: Reference,
    },
}

/// What a unit with a residual keeps beyond its own part.
pub(super) struct Residual<K: Kernels> {
    /// Place of the residual's gradient.
    pub gradient: Option<usize>,
    pub sum: Arc<K::Memory>,
}
