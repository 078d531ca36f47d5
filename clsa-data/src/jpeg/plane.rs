//! The samples of one component, of which only the last rows are kept.

use super::block::Samples;

/// Samples of one component in rows of whole blocks. Of a row's number, only what remains of dividing it by `rows` tells
/// its place, so later rows replace earlier ones.
pub(super) struct Plane {
    /// Eight samples each, of one row of one block.
    samples: Vec<[u8; 8]>,
    /// Blocks side by side.
    across: usize,
    /// Rows of samples.
    rows: usize,
}

impl Plane {
    /// Room for the given numbers of blocks, side by side and above each other.
    pub(super) fn new((across, down): (usize, usize)) -> Self {
        Self { samples: vec![[0; 8]; across * 8 * down], across, rows: 8 * down }
    }

    /// The samples of a row, some of which may be of no pixel.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        self.samples[row % self.rows * self.across..][..self.across].as_flattened()
    }

    /// Puts a block in its place: its column, and its row among the blocks that are kept.
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, column: usize, block: &Samples) {
        let mut at = 8 * row * self.across + column;
        for from in block {
            self.samples[at] = *from;
            at += self.across;
        }
    }
}
