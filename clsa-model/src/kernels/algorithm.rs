//! Which algorithm computes a convolution and its gradients, and into how many tasks it is cut.

use super::conv::Conv;
use super::element::Element;
use super::shape::ConvShape;
use super::tiling::{PLACES, TILE};
use clsa_cpu::InstructionSet;

/// Tasks that a pass is cut into at least, where the shape allows, so that there is work for several threads. A
/// constant: results must not depend on the number of threads.
pub(super) const TASKS: usize = 8;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The sum itself, of products of f32.
    Direct,
    /// The sum itself, of products of bf16.
    DirectPairs,
    /// Winograd's minimal filtering F(4x4, 3x3), in f32.
    Winograd,
}

impl Algorithm {
    /// The fastest one for activations of a type.
    pub fn of<E: Element>(conv: &Conv<'_>) -> Self {
        if conv.shape.by_winograd() {
            Self::Winograd
        } else if E::BF16 && conv.instructions == InstructionSet::Avx512Bf16 {
            Self::DirectPairs
        } else {
            Self::Direct
        }
    }
}

impl ConvShape {
    /// Whether the kernels compute it and its gradients by Winograd's F(4x4, 3x3), in f32, which costs a digit.
    pub fn by_winograd(self) -> bool {
        let Self { kernel, stride, padding, c_in, c_out, .. } = self;
        if (kernel, stride, padding) != (3, 1, 1) || c_in < 16 || c_out < 16 {
            return false;
        }
        let tiles = self.height.div_ceil(TILE) * self.width.div_ceil(TILE);
        let pixels = self.height * self.width;
        // Rows of products, and a quarter more for the transforms. The batch has no say, so that what an image gives is the same in all.
        5 * PLACES * tiles < 4 * 9 * pixels
    }
}
