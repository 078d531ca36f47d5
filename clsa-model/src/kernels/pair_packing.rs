//! Weights as right operands of products of bf16: rounded, and rows interleaved two and two.

use super::memory::with_scratch;
use super::packing::{Panel, WeightPacking};
use super::simd::{PairKernel, PairSimd, dispatch_pairs};
use super::span::Span;
use half::bf16;

impl WeightPacking<'_> {
    /// Packs a panel of all rows as [`Self::pack`], rounded to bf16 and interleaved two and two; the last row of a run of
    /// odd length is paired with zeros. Runs, of `run` rows each, are whole taps or sequences of them.
    ///
    /// # Panics
    /// As [`Self::pack`], or if the rows are not whole runs.
    pub fn pack_pairs(&self, run: usize, panel: Panel, out: &mut [bf16]) {
        let channels = self.direction.rows(self.shape);
        let (rows, wide) = (self.taps.len() * channels, panel.wide);
        assert!(run > 0 && rows.is_multiple_of(run) && out.len() >= rows / run * run.next_multiple_of(2) * wide);
        // Channels at a time, so that what is rounded comes from the first-level cache; all, where pairs straddle taps.
        let straddle = run != channels && !channels.is_multiple_of(2);
        let most = if straddle { channels } else { (256 / self.taps.len()).next_multiple_of(2).max(16) };
        for row in (0..channels).step_by(most) {
            let n = most.min(channels - row);
            with_scratch(self.taps.len() * n * wide, |scratch: &mut [f32]| {
                self.pack(Span { start: row, end: row + n }, panel, scratch);
                let (len, to) = if straddle { (run, 0) } else { (n, row * wide) };
                let distance = if straddle { run.next_multiple_of(2) } else { channels.next_multiple_of(2) } * wide;
                for (i, from) in scratch.chunks_exact(len * wide).enumerate() {
                    let to = &mut out[i * distance + to..][..len.next_multiple_of(2) * wide];
                    dispatch_pairs(self.instructions, PairRows { from, wide, to });
                }
            });
        }
    }
}

/// Rounds rows of whole vectors to bf16 and interleaves them two and two.
struct PairRows<'a> {
    from: &'a [f32],
    wide: usize,
    to: &'a mut [bf16],
}

impl PairKernel for PairRows<'_> {
    #[inline(always)]
    fn run<V: PairSimd>(self) {
        let Self { from, wide, to } = self;
        assert!(wide.is_multiple_of(V::LANES) && to.len() == from.len().next_multiple_of(2 * wide));
        for (pair, to) in from.chunks(2 * wide).zip(to.chunks_exact_mut(2 * wide)) {
            for column in (0..wide).step_by(V::LANES) {
                // SAFETY: rows are whole vectors.
                unsafe {
                    let first = V::load(pair.as_ptr().add(column));
                    let second = if pair.len() > wide { V::load(pair.as_ptr().add(wide + column)) } else { V::zero() };
                    V::pair(first, second).store(to.as_mut_ptr().add(2 * column).cast());
                }
            }
        }
    }
}
