//! A batch norm with its input: what all its passes share.

use super::affine::Affine;
use super::chunks::Chunks;
use clsa_cpu::InstructionSet;

/// A batch norm of a training pass with its input, a convolution's output. Its passes are
/// [`normalize`](Self::normalize), [`backward_sums`](Self::backward_sums) and [`backward_apply`](Self::backward_apply).
///
/// # Examples
/// ```
/// use clsa_model::kernels::{Affine, BatchNormPass, InstructionSet};
///
/// // Two pixels of one channel, normalized to -1 and 1.
/// let affine = Affine { scale: vec![0.5], shift: vec![-2.0], mean: vec![4.0], inv_std: vec![0.5] };
/// let instructions = InstructionSet::chosen()?;
/// let pass = BatchNormPass { instructions, channels: 1, z: &[2.0f32, 6.0], affine: &affine };
/// let mut out = [0.0; 2];
/// pass.normalize(None, false, &mut out);
/// assert_eq!(out, [-1.0, 1.0]);
/// # Ok::<(), clsa_model::kernels::UnavailableInstructionSet>(())
/// ```
#[derive(Clone, Copy)]
pub struct BatchNormPass<'a, E> {
    /// The instruction set, which this CPU must have.
    pub instructions: InstructionSet,
    /// Channels of a pixel.
    pub channels: usize,
    /// The input, channels last: (batch, height, width, channels), consecutive images in a group.
    pub z: &'a [E],
    /// The norm, whose vectors are (groups, channels).
    pub affine: &'a Affine,
}

impl<E> BatchNormPass<'_, E> {
    /// # Panics
    /// The input is not whole groups of pixels.
    pub(super) fn chunks(&self) -> Chunks {
        let groups = self.affine.groups(self.channels);
        assert!(groups > 0 && self.z.len().is_multiple_of(groups * self.channels));
        Chunks::new(self.z.len() / self.channels, groups, self.channels)
    }

    /// The values of a group's channels, of (groups, channels).
    pub(super) fn of_group(&self, values: &[f32], group: usize) -> *const f32 {
        values[group * self.channels..][..self.channels].as_ptr()
    }
}
