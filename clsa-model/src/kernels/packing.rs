//! From torch's weight layout (c_out, c_in, kernel, kernel) to the right operands of products, and back for gradients, by
//! squares transposed in registers.

use super::element::part;
use super::shape::ConvShape;
use super::simd::{Isa, Kernel, MOST_LANES, Simd, dispatch};
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
        let (row_channels, column_channels) = match self {
            Self::Forward => (shape.c_in, shape.c_out),
            Self::Backward => (shape.c_out, shape.c_in),
        };
        assert!(rows.0 + rows.1 <= row_channels && columns.0 + columns.1 <= column_channels);
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

/// Adds parts of (kernel, kernel, c_in, padded c_out) to (c_out, c_in, kernel, kernel); `padded` is whole vectors.
pub(super) fn add_transposed(
    isa: Isa,
    partial: &[f32],
    parts: usize,
    shape: ConvShape,
    padded: usize,
    out: &mut [f32],
) {
    let (lanes, row_len) = (isa.lanes(), shape.weight_len() / shape.c_out);
    assert!(partial.len() >= parts * row_len * padded && padded >= shape.c_out && padded.is_multiple_of(lanes));
    out.par_chunks_mut(lanes * row_len).enumerate().for_each(|(block, out)| {
        let (c_in, all) = (shape.c_in, shape.kernel * shape.kernel);
        dispatch(isa, AddTransposed { partial, parts, c_in, all, padded, first: block * lanes, out });
    });
}

struct AddTransposed<'a> {
    partial: &'a [f32],
    parts: usize,
    c_in: usize,
    all: usize,
    padded: usize,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for AddTransposed<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { partial, parts, c_in, all, padded, first, out } = self;
        let row_len = c_in * all;
        let channels = out.len() / row_len;
        for start in (0..row_len).step_by(V::LANES) {
            let left = row_len - start;
            // SAFETY: `add_transposed` has checked the length of the parts; rows are within `out`.
            unsafe {
                let mut square = [V::zero(); MOST_LANES];
                let (mut channel, mut tap) = (start / all, start % all);
                for l in 0..V::LANES.min(left) {
                    let from = partial.as_ptr().add((tap * c_in + channel) * padded + first);
                    square[l] = V::load(from);
                    for p in 1..parts {
                        square[l] = square[l].add(V::load(from.add(p * row_len * padded)));
                    }
                    tap += 1;
                    if tap == all {
                        (channel, tap) = (channel + 1, 0);
                    }
                }
                V::transpose(&mut square);
                for l in 0..V::LANES.min(channels) {
                    let to = out.as_mut_ptr().add(l * row_len + start);
                    let sum = square[l].add(part(to, left));
                    if left >= V::LANES { sum.store(to) } else { sum.store_first(to, left) }
                }
            }
        }
    }
}
