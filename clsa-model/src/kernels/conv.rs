//! A convolution with what computes it: what all its passes share.

use super::memory::MemoryPool;
use super::shape::ConvShape;
use clsa_cpu::InstructionSet;

/// A convolution with what computes it. Its passes are [`forward`](Self::forward),
/// [`forward_folded`](Self::forward_folded), [`backward_data`](Self::backward_data) and
/// [`backward_weight`](Self::backward_weight). All images are channels last, the weight is
/// (c_out, c_in, kernel, kernel), as torch's.
///
/// # Examples
/// ```
/// use clsa_model::kernels::{ActivationView, Conv, ConvShape, InstructionSet, MemoryPool};
///
/// let shape = ConvShape { batch: 2, height: 5, width: 4, c_in: 3, c_out: 8, kernel: 3, stride: 1, padding: 1 };
/// let (input, weight) = (vec![1.0f32; shape.input_len()], vec![0.5; shape.weight_len()]);
/// let (memory, instructions) = (MemoryPool::default(), InstructionSet::chosen()?);
/// let conv = Conv { instructions, memory: &memory, shape, groups: 1 };
/// let mut out = vec![0.0f32; shape.output_len()];
/// let moments = conv.forward(ActivationView::Plain(&input), &weight, &mut out);
/// // In the middle of the image: 27 products of 1 and 0.5.
/// assert_eq!(out[(4 + 1) * 8], 13.5);
/// assert_eq!(moments.mean().len(), 8);
/// # Ok::<(), clsa_model::kernels::UnavailableInstructionSet>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv<'a> {
    /// The instruction set, which this CPU must have.
    pub instructions: InstructionSet,
    /// Where packed weights and partial sums get their memory.
    pub memory: &'a MemoryPool,
    /// The convolution.
    pub shape: ConvShape,
    /// Groups of batch norm, each of `shape.batch / groups` consecutive images; a divisor of `shape.batch`.
    pub groups: usize,
}

impl Conv<'_> {
    /// # Panics
    /// The groups do not divide the batch.
    pub(super) fn check_groups(&self) {
        assert!(self.groups > 0 && self.shape.batch.is_multiple_of(self.groups));
    }

    /// The kernels rely on these lengths.
    ///
    /// # Panics
    /// A length is not that of the shape, the shape has none, or its padding is not within its kernel.
    pub(super) fn check_lengths(&self, input: usize, weight: usize, output: usize) {
        // A window then reaches less than a kernel beyond its image on each side, so that its length does not wrap around.
        let ConvShape { kernel, padding, .. } = self.shape;
        assert!(padding < kernel, "a padding of {padding} is not within a kernel of {kernel}");
        assert_eq!(input, self.shape.input_len());
        assert_eq!(weight, self.shape.weight_len());
        assert_eq!(output, self.shape.output_len());
    }

    /// Images of a group.
    pub(super) fn images_per_group(&self) -> usize {
        self.shape.batch / self.groups
    }
}
