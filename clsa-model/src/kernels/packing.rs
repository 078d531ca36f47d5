//! From torch's weight layout (c_out, c_in, kernel, kernel) to the right operands of products, by squares transposed in
//! registers.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::element::part;
use super::shape::{ConvShape, KernelTap};
use super::simd::{Kernel, MOST_LANES, Simd, dispatch, lanes};
use super::span::Span;
use clsa_cpu::InstructionSet;

/// The direction in which a weight is the right operand of a product.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// Columns are output channels, rows (tap, input channel), for all taps in their order.
    Forward,
    /// Columns are input channels, rows (tap, output channel).
    Backward,
}

impl Direction {
    /// Channels of the weight that rows are of.
    pub fn rows(self, shape: ConvShape) -> usize {
        match self {
            Self::Forward => shape.c_in,
            Self::Backward => shape.c_out,
        }
    }

    /// Channels of the weight that columns are of.
    pub fn columns(self, shape: ConvShape) -> usize {
        match self {
            Self::Forward => shape.c_out,
            Self::Backward => shape.c_in,
        }
    }
}

/// Some columns of a right operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    /// The first column.
    pub first: usize,
    /// Columns that there are.
    pub filled: usize,
    /// Columns with those of zeros, whole vectors.
    pub wide: usize,
}

impl Panel {
    /// Panel `index` of `width` columns, of which `columns` there are and `padded` with those of zeros.
    pub fn of(index: usize, width: usize, columns: usize, padded: usize) -> Self {
        let first = index * width;
        let wide = width.min(padded - first);
        Self { first, filled: wide.min(columns - first), wide }
    }
}

/// A weight, and how it becomes the right operand of products.
#[derive(Clone, Copy)]
pub(super) struct WeightPacking<'a> {
    pub instructions: InstructionSet,
    pub direction: Direction,
    pub weight: &'a [f32],
    pub shape: ConvShape,
    pub taps: &'a [KernelTap],
}

impl WeightPacking<'_> {
    /// Packs a panel of some of the rows' channels, for the taps: (taps, rows, panel.wide).
    ///
    /// # Panics
    /// Rows or columns are not in the weight, or `out` is too short.
    pub fn pack(&self, rows: Span, panel: Panel, out: &mut [f32]) {
        let Self { instructions, direction, weight, shape, taps } = *self;
        assert_eq!(weight.len(), shape.weight_len());
        assert!(out.len() >= taps.len() * rows.len() * panel.wide);
        assert!(panel.wide.is_multiple_of(lanes(instructions)));
        assert!(rows.end <= direction.rows(shape) && panel.first + panel.filled <= direction.columns(shape));
        let (all, c_in) = (shape.kernel * shape.kernel, shape.c_in);
        match direction {
            Direction::Forward => {
                assert_eq!(taps.len(), all);
                dispatch(instructions, PackForward { weight, all, c_in, rows, panel, out });
            }
            Direction::Backward => {
                let taps: Vec<usize> = taps.iter().map(|tap| tap.row * shape.kernel + tap.column).collect();
                dispatch(instructions, PackBackward { weight, all, c_in, taps: &taps, rows, panel, out });
            }
        }
    }
}

struct PackForward<'a> {
    weight: &'a [f32],
    /// Places of the kernel.
    all: usize,
    c_in: usize,
    rows: Span,
    panel: Panel,
    out: &'a mut [f32],
}

impl Kernel for PackForward<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { weight, all, c_in, rows, panel, out } = self;
        let (row, n) = (rows.start, rows.len());
        let Panel { first, filled, wide } = panel;
        for column in (0..wide).step_by(V::LANES) {
            let valid = filled.saturating_sub(column).min(V::LANES);
            for start in (0..n * all).step_by(V::LANES) {
                let left = n * all - start;
                // SAFETY: `WeightPacking::pack` has checked that rows and columns are within the weight and the panel.
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
    /// Places of the kernel.
    all: usize,
    c_in: usize,
    taps: &'a [usize],
    rows: Span,
    panel: Panel,
    out: &'a mut [f32],
}

impl Kernel for PackBackward<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { weight, all, c_in, taps, rows, panel, out } = self;
        let (row, n) = (rows.start, rows.len());
        let Panel { first, filled, wide } = panel;
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
