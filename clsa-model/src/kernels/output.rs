//! What is done with the output of a convolution, and the moments that a training pass gathers of it block by block.

use super::folded_norm::FoldedNorm;
use super::memory::Shared;
use super::moments::{BlockOfMoments, Moments};
use super::product::Store;

/// What is done with a convolution's output.
#[derive(Clone, Copy)]
pub(super) enum Output<'a, E> {
    Write,
    /// Added to what is there.
    Add,
    /// Written, and its moments gathered.
    Moments(MomentArrays),
    /// Written after batch norm; scale and bias are padded to whole panels.
    FoldedNorm(FoldedNorm<'a, E>),
}

impl<E> Output<'_, E> {
    /// What the kernels do with the results of a block.
    ///
    /// # Panics
    /// There are no moments of this block.
    pub fn store(&self, block: usize) -> Store<E> {
        match self {
            Self::Write => Store::Write,
            Self::Add => Store::Add,
            Self::Moments(arrays) => Store::Moments { moments: arrays.of_block(block), stride: arrays.stride },
            Self::FoldedNorm(norm) => Store::FoldedNorm {
                scale: norm.scale.as_ptr(),
                bias: norm.bias.as_ptr(),
                residual: norm.residual.map_or(std::ptr::null(), <[E]>::as_ptr),
                relu: norm.relu,
            },
        }
    }
}

/// The moments of blocks as kernels gather them: for each block three arrays of `stride` elements, of pivots, sums and
/// sums of squares.
pub(super) struct BlockMoments {
    values: Vec<f32>,
    blocks: usize,
    stride: usize,
}

impl BlockMoments {
    /// `stride` is a number of channels, padded to whole panels.
    pub fn new(blocks: usize, stride: usize) -> Self {
        Self { values: vec![0.0; blocks * 3 * stride], blocks, stride }
    }

    /// The output that gathers them, one task for each block and channel.
    pub fn output<E>(&mut self) -> Output<'_, E> {
        let Self { blocks, stride, .. } = *self;
        Output::Moments(MomentArrays { values: Shared::new(&mut self.values), blocks, stride })
    }

    /// Joins those of all blocks, in their order.
    pub fn join(&self, groups: usize, channels: usize, blocks: impl Iterator<Item = BlockOfMoments>) -> Moments {
        Moments::joined(groups, channels, blocks, &self.values, self.stride)
    }
}

/// The arrays of [`BlockMoments`], which tasks share.
#[derive(Clone, Copy)]
pub(super) struct MomentArrays {
    values: Shared<f32>,
    pub blocks: usize,
    pub stride: usize,
}

impl MomentArrays {
    fn of_block(&self, index: usize) -> *mut f32 {
        assert!(index < self.blocks);
        // SAFETY: every block has its three arrays.
        unsafe { self.values.get().add(index * 3 * self.stride) }
    }
}
