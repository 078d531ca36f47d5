//! The transform of Winograd's kernels, `G w Gᵀ`: from torch's weight layout to the right operands of the 36 products.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use crate::kernels::conv::Conv;
use crate::kernels::memory::{Memory, Shared, with_scratch};
use crate::kernels::packing::{Direction, Panel, WeightPacking};
use crate::kernels::shape::KernelTap;
use crate::kernels::simd::{Kernel, Simd, dispatch, lanes};
use crate::kernels::span::Span;
use crate::kernels::tile::panel_width;
use crate::kernels::tiling::{PLACES, SEEN};
use rayon::prelude::*;

/// Rows of a task: rows are cut too, so that a panel's nine taps stay in the first cache levels.
const ROWS: usize = 64;

/// The kernels in place after place, each in panels of output columns as products take them.
pub fn transform_kernels(conv: &Conv<'_>, weight: &[f32], direction: Direction) -> Memory<f32> {
    let Conv { instructions, memory, shape, .. } = *conv;
    let (rows, columns) = (direction.rows(shape), direction.columns(shape));
    let vector = lanes(instructions);
    let (padded, width) = (columns.next_multiple_of(vector), panel_width(vector));
    let taps: Vec<KernelTap> = match direction {
        Direction::Forward => shape.taps(),
        Direction::Backward => shape.taps().into_iter().rev().collect(),
    };
    let packing = WeightPacking { instructions, direction, weight, shape, taps: &taps };
    let mut packed = memory.take::<f32>(PLACES * padded * rows);
    let to = Shared::new(&mut packed);
    let row_parts = rows.div_ceil(ROWS);
    (0..columns.div_ceil(width) * row_parts).into_par_iter().for_each(|task| {
        let (index, row) = (task / row_parts, task % row_parts * ROWS);
        let n = ROWS.min(rows - row);
        let panel = Panel::of(index, width, columns, padded);
        with_scratch(9 * n * panel.wide, |direct: &mut [f32]| {
            packing.pack(Span { start: row, end: row + n }, panel, direct);
            let kernel = TransformKernels {
                direct: direct.as_ptr(),
                tap: n * panel.wide,
                // SAFETY: inside `packed`: place 0, this panel, this row.
                to: unsafe { to.get().add(panel.first * rows + row * panel.wide) },
                place: padded * rows,
            };
            dispatch(instructions, kernel);
        });
    });
    packed
}

/// `G w Gᵀ` for a panel of kernels.
struct TransformKernels {
    direct: *const f32,
    /// Values of each of the nine taps, which follow each other.
    tap: usize,
    to: *mut f32,
    place: usize,
}

impl Kernel for TransformKernels {
    #[inline(always)]
    fn run<V: Simd>(self) {
        for i in (0..self.tap).step_by(V::LANES) {
            // SAFETY: panels are whole vectors wide; `transform_kernels` gives the places.
            unsafe {
                let mut half = [[V::zero(); 3]; SEEN];
                for s in 0..3 {
                    let w = |r: usize| V::load(self.direct.add((r * 3 + s) * self.tap + i));
                    let column = kernel_transform(w(0), w(1), w(2));
                    for r in 0..SEEN {
                        half[r][s] = column[r];
                    }
                }
                for r in 0..SEEN {
                    let row = kernel_transform(half[r][0], half[r][1], half[r][2]);
                    for s in 0..SEEN {
                        row[s].store(self.to.add((r * SEEN + s) * self.place + i));
                    }
                }
            }
        }
    }
}

/// `G w` for three taps.
#[inline(always)]
unsafe fn kernel_transform<V: Simd>(w0: V, w1: V, w2: V) -> [V; SEEN] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let outer = w0.add(w2).mul(V::splat(-1.0 / 6.0));
        let inner = w1.mul(V::splat(-1.0 / 6.0));
        let far = w0.mul(V::splat(1.0 / 24.0)).add(w2.mul(V::splat(1.0 / 6.0)));
        let near = w1.mul(V::splat(1.0 / 12.0));
        [w0.mul(V::splat(0.25)), outer.add(inner), outer.sub(inner), far.add(near), far.sub(near), w2]
    }
}
