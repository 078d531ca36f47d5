//! From torch's weight layout (c_out, c_in, kernel, kernel) to the right operands of products, and back for gradients, by
//! squares transposed in registers.

use super::element::{part, write};
use super::memory::with_scratch;
use super::shape::ConvShape;
use super::simd::{Isa, Kernel, MOST_LANES, PairKernel, Pairs, Simd, dispatch, dispatch_pairs};
use half::bf16;
use rayon::prelude::*;

/// How the weight becomes the right operand of a product.
#[derive(Clone, Copy)]
pub(super) enum Packing {
    /// Columns are output channels, rows (tap, input channel), for all taps in their order.
    Forward,
    /// Columns are input channels, rows (tap, output channel).
    Backward,
}

impl Packing {
    /// Channels of the weight that rows are of.
    pub fn rows(self, shape: ConvShape) -> usize {
        match self {
            Self::Forward => shape.c_in,
            Self::Backward => shape.c_out,
        }
    }

    /// Packs `n` of the rows' channels from `row`, for the taps, and `columns` = (first, how many, how wide the panel is
    /// with its zeros: whole vectors).
    pub fn pack(
        self,
        isa: Isa,
        weight: &[f32],
        shape: ConvShape,
        taps: &[(usize, usize)],
        rows: (usize, usize),
        columns: (usize, usize, usize),
        out: &mut [f32],
    ) {
        assert_eq!(weight.len(), shape.weight_len());
        assert!(out.len() >= taps.len() * rows.1 * columns.2 && columns.2.is_multiple_of(isa.lanes()));
        let all = shape.kernel * shape.kernel;
        let column_channels = match self {
            Self::Forward => shape.c_out,
            Self::Backward => shape.c_in,
        };
        assert!(rows.0 + rows.1 <= self.rows(shape) && columns.0 + columns.1 <= column_channels);
        match self {
            Self::Forward => {
                assert_eq!(taps.len(), all);
                dispatch(isa, PackForward { weight, all, c_in: shape.c_in, rows, columns, out });
            }
            Self::Backward => {
                let taps: Vec<usize> = taps.iter().map(|(r, s)| r * shape.kernel + s).collect();
                dispatch(isa, PackBackward { weight, all, c_in: shape.c_in, taps: &taps, rows, columns, out });
            }
        }
    }
}

/// Packs all rows as [`Packing::pack`], rounded to bf16 and interleaved two and two; the last row of a run of odd length
/// is paired with zeros. Runs, of `run` rows each, are whole taps or sequences of them.
pub(super) fn pack_pairs(
    packing: Packing,
    isa: Isa,
    weight: &[f32],
    shape: ConvShape,
    taps: &[(usize, usize)],
    run: usize,
    columns: (usize, usize, usize),
    out: &mut [bf16],
) {
    let channels = packing.rows(shape);
    let (rows, wide) = (taps.len() * channels, columns.2);
    assert!(run > 0 && rows.is_multiple_of(run) && out.len() >= rows / run * run.next_multiple_of(2) * wide);
    // Channels at a time, so that what is rounded comes from the first-level cache; all, where pairs straddle taps.
    let straddle = run != channels && !channels.is_multiple_of(2);
    let most = if straddle { channels } else { (256 / taps.len()).next_multiple_of(2).max(16) };
    for row in (0..channels).step_by(most) {
        let n = most.min(channels - row);
        with_scratch(taps.len() * n * wide, |scratch: &mut [f32]| {
            packing.pack(isa, weight, shape, taps, (row, n), columns, scratch);
            let (len, to) = if straddle { (run, 0) } else { (n, row * wide) };
            let distance = if straddle { run.next_multiple_of(2) } else { channels.next_multiple_of(2) } * wide;
            for (i, from) in scratch.chunks_exact(len * wide).enumerate() {
                let to = &mut out[i * distance + to..][..len.next_multiple_of(2) * wide];
                dispatch_pairs(isa, PairRows { from, wide, to });
            }
        });
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
    fn run<V: Pairs>(self) {
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

struct PackForward<'a> {
    weight: &'a [f32],
    all: usize,
    c_in: usize,
    rows: (usize, usize),
    columns: (usize, usize, usize),
    out: &'a mut [f32],
}

impl Kernel for PackForward<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { weight, all, c_in, rows: (row, n), columns: (first, filled, wide), out } = self;
        for column in (0..wide).step_by(V::LANES) {
            let valid = filled.saturating_sub(column).min(V::LANES);
            for start in (0..n * all).step_by(V::LANES) {
                let left = n * all - start;
                // SAFETY: `Packing::pack` has checked that rows and columns are within the weight and the panel.
                unsafe {
                    let mut square = [V::zero(); MOST_LANES];
                    for l in 0..V::LANES {
                        if l < valid {
                            let from = ((first + column + l) * c_in + row) * all + start;
                            square[l] = part(weight.as_ptr().add(from), left);
                        }
                    }
                    V::transpose(&mut square);
                    let (mut channel, mut tap) = (start / all, start % all);
                    for l in 0..V::LANES.min(left) {
                        square[l].store(out.as_mut_ptr().add((tap * n + channel) * wide + column));
                        tap += 1;
                        if tap == all {
                            (channel, tap) = (channel + 1, 0);
                        }
                    }
                }
            }
        }
    }
}

struct PackBackward<'a> {
    weight: &'a [f32],
    all: usize,
    c_in: usize,
    taps: &'a [usize],
    rows: (usize, usize),
    columns: (usize, usize, usize),
    out: &'a mut [f32],
}

impl Kernel for PackBackward<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { weight, all, c_in, taps, rows: (row, n), columns: (first, filled, wide), out } = self;
        for i in 0..n {
            for column in (0..wide).step_by(V::LANES) {
                let valid = filled.saturating_sub(column).min(V::LANES);
                let from = ((row + i) * c_in + first + column) * all;
                // SAFETY: as in `PackForward`.
                unsafe {
                    let to = out.as_mut_ptr().add(i * wide + column);
                    if all == 1 {
                        let v = if valid == 0 { V::zero() } else { part(weight.as_ptr().add(from), valid) };
                        v.store(to);
                        continue;
                    }
                    for start in (0..all).step_by(V::LANES) {
                        let mut square = [V::zero(); MOST_LANES];
                        for l in 0..V::LANES {
                            if l < valid {
                                // A vector reaches into the next channel's taps, which are not stored.
                                let from = from + l * all + start;
                                square[l] = part(weight.as_ptr().add(from), weight.len() - from);
                            }
                        }
                        V::transpose(&mut square);
                        for (t, &tap) in taps.iter().enumerate() {
                            if (start..start + V::LANES).contains(&tap) {
                                square[tap - start].store(to.add(t * n * wide));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Adds (kernel, kernel, c_in, padded c_out) to (c_out, c_in, kernel, kernel); `padded` is whole vectors.
pub(super) fn add_transposed(isa: Isa, direct: &[f32], shape: ConvShape, padded: usize, out: &mut [f32]) {
    let (lanes, row_len) = (isa.lanes(), shape.weight_len() / shape.c_out);
    assert!(direct.len() >= row_len * padded && padded >= shape.c_out && padded.is_multiple_of(lanes));
    out.par_chunks_mut(lanes * row_len).enumerate().for_each(|(block, out)| {
        let kernel = AddTransposed {
            partial: direct[block * lanes..].as_ptr(),
            parts: 1,
            part: 0,
            stride: padded,
            taps: shape.kernel * shape.kernel,
            channels: shape.c_in,
            columns: out.len() / row_len,
            row_len,
            out: out.as_mut_ptr(),
        };
        dispatch(isa, kernel);
    });
}

/// Adds parts of a block of a weight's gradient, each (taps, channels, `stride`) with output channels innermost, to the
/// weight's gradient itself, where the block begins at `out` and a row, all that leads to an output channel, is
/// `row_len`. Output channels are padded to whole vectors in the parts, whose distance is `part`.
pub(super) struct AddTransposed {
    pub partial: *const f32,
    pub parts: usize,
    pub part: usize,
    pub stride: usize,
    pub taps: usize,
    pub channels: usize,
    /// Output channels.
    pub columns: usize,
    pub row_len: usize,
    pub out: *mut f32,
}

impl Kernel for AddTransposed {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { partial, parts, part: distance, stride, taps, channels, columns, row_len, out } = self;
        for column in (0..columns).step_by(V::LANES) {
            for start in (0..channels * taps).step_by(V::LANES) {
                let left = channels * taps - start;
                // SAFETY: who makes an `AddTransposed` answers for its pointers; the block's rows and columns are as given.
                unsafe {
                    let mut square = [V::zero(); MOST_LANES];
                    let (mut channel, mut tap) = (start / taps, start % taps);
                    for l in 0..V::LANES.min(left) {
                        let from = partial.add((tap * channels + channel) * stride + column);
                        square[l] = V::load(from);
                        for p in 1..parts {
                            square[l] = square[l].add(V::load(from.add(p * distance)));
                        }
                        tap += 1;
                        if tap == taps {
                            (channel, tap) = (channel + 1, 0);
                        }
                    }
                    V::transpose(&mut square);
                    for l in 0..V::LANES.min(columns - column) {
                        let to = out.add((column + l) * row_len + start);
                        let sum: V = square[l].add(part(to, left));
                        write(sum, to, left);
                    }
                }
            }
        }
    }
}
