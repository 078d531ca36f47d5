//! The samples of one component, of which only the last rows are kept.

use super::block::Samples;

/// Samples of one component in rows of whole blocks. Of a row's number, only what remains of dividing it by `rows` tells
/// its place, so later rows replace earlier ones.
pub(super) struct Plane {
    samples: Vec<u8>,
    stride: usize,
    rows: usize,
}

impl Plane {
    /// Room for the given numbers of blocks, side by side and above each other.
    pub(super) fn new((across, down): (usize, usize)) -> Self {
        Self { samples: vec![0; 64 * across * down], stride: 8 * across, rows: 8 * down }
    }

    /// The samples of a row, some of which may be of no pixel.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        &self.samples[row % self.rows * self.stride..][..self.stride]
    }

    /// Puts a block in its place: its column, and its row among the blocks that are kept.
    #[inline(always)]
    pub(super) fn put(&mut self, row: usize, column: usize, block: &Samples) {
        self.block(row, column, |at, to| *to = block[at]);
    }

    /// Makes all samples of a block the same one.
    #[inline(always)]
    pub(super) fn fill(&mut self, row: usize, column: usize, sample: u8) {
        self.block(row, column, |_, to| *to = [sample; 8]);
    }

    #[inline(always)]
    fn block(&mut self, row: usize, column: usize, mut put: impl FnMut(usize, &mut [u8; 8])) {
        let samples = &mut self.samples[8 * (row * self.stride + column)..];
        for (at, row) in samples.chunks_mut(self.stride).take(8).enumerate() {
            if let Some(to) = row.first_chunk_mut() {
                put(at, to);
            }
        }
    }
}
