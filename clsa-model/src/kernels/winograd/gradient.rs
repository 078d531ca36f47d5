//! The weight gradient of 3x3 convolutions of stride 1 by Winograd's minimal filtering: the inputs' windows and the tiles
//! of the output's gradient are transformed, each of the 36 places is a sum of outer products, and the sums are
//! transformed back to 3x3.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::gradient_tiles::GradientTiles;
use super::input::InputTiles;
use crate::kernels::activation_view::ActivationView;
use crate::kernels::add_transposed::add_transposed;
use crate::kernels::algorithm::TASKS;
use crate::kernels::conv::Conv;
use crate::kernels::element::Element;
use crate::kernels::memory::{Shared, with_scratch};
use crate::kernels::multiply::Words;
use crate::kernels::outer_product::{Grid, OuterProduct, TapRows};
use crate::kernels::shape::ConvShape;
use crate::kernels::simd::{Kernel, Simd, dispatch, lanes};
use crate::kernels::span::{Span, share};
use crate::kernels::tiling::{PLACES, SEEN, Tiling};
use rayon::prelude::*;

/// Tiles of a chunk, over which sums stay in registers.
const TILES: usize = 28;
/// Channels of a block of the result.
const IN_BLOCK: usize = 64;
const OUT_BLOCK: usize = 128;

/// As [`Conv::backward_weight`]. The lengths have been checked.
pub fn backward_weight<E: Element>(conv: &Conv<'_>, input: ActivationView<'_, E>, gradient: &[E], out: &mut [f32]) {
    let Conv { instructions, memory, shape, groups } = *conv;
    let ConvShape { c_in, c_out, .. } = shape;
    let tiling = Tiling::new(shape);
    let chunks = tiling.blocks(groups, TILES);
    let padded = c_out.next_multiple_of(lanes(instructions));
    let out_blocks = padded.div_ceil(OUT_BLOCK);
    let blocks = c_in.div_ceil(IN_BLOCK) * out_blocks;
    let parts = TASKS.div_ceil(blocks).min(chunks.len());
    let part_len = PLACES * c_in * padded;
    let mut partial = memory.take::<f32>(parts * part_len);
    let sums = Shared::new(&mut partial);
    (0..parts * blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (part, block) = (task / blocks, task % blocks);
        let (i, o) = (block / out_blocks * IN_BLOCK, block % out_blocks * OUT_BLOCK);
        let task = Task {
            conv,
            tiling,
            input,
            gradient,
            inputs: Span { start: i, end: (i + IN_BLOCK).min(c_in) },
            outputs: Span { start: o, end: (o + OUT_BLOCK).min(padded) },
            padded,
        };
        let own = share(chunks.len(), part, parts);
        // SAFETY: inside `partial`; no other task has this part and these rows and columns.
        let c = unsafe { sums.get().add(part * part_len + i * padded + o) };
        for (index, &tiles) in chunks[own.start..own.end].iter().enumerate() {
            task.add_chunk(tiles, c, index == 0);
        }
    });
    let mut direct = memory.take::<f32>(9 * c_in * padded);
    let to = Shared::new(&mut direct);
    (0..c_in).into_par_iter().with_min_len(8).for_each(|row| {
        let kernel = TransformBack {
            partial: partial[row * padded..].as_ptr(),
            parts,
            part: part_len,
            place: c_in * padded,
            len: padded,
            // SAFETY: inside `direct`; every task has its own row of each tap.
            to: unsafe { to.get().add(row * padded) },
        };
        dispatch(instructions, kernel);
    });
    add_transposed(instructions, &direct, shape, padded, out);
}

/// A block of the result over some of the tiles.
struct Task<'a, E> {
    conv: &'a Conv<'a>,
    tiling: Tiling,
    input: ActivationView<'a, E>,
    gradient: &'a [E],
    inputs: Span,
    /// The last ones may be beyond the channels that there are.
    outputs: Span,
    /// Output channels of the result, whole vectors.
    padded: usize,
}

impl<E: Element> Task<'_, E> {
    /// Adds the products of some tiles to the block at `c`, (place, c_in, padded), or writes them there if they are the
    /// first.
    fn add_chunk(&self, tiles: Span, c: *mut f32, first: bool) {
        let Self { tiling, inputs, outputs, padded, .. } = *self;
        let Conv { instructions, shape, .. } = *self.conv;
        let ConvShape { c_in, c_out, .. } = shape;
        let pixel = f32::pixel_distance(inputs.len().next_multiple_of(lanes(instructions)));
        let out_pixel = f32::pixel_distance(outputs.len());
        let n = tiles.len();
        let seen_len = PLACES * n * pixel;
        with_scratch(seen_len + PLACES * n * out_pixel, |scratch: &mut [f32]| {
            let (seen, given) = scratch.split_at_mut(seen_len);
            let group = tiles.start / tiling.per_image() / self.conv.images_per_group();
            InputTiles { tiling, source: self.input, group, channels: c_in, range: inputs, tiles, pixel }
                .transform(instructions, seen);
            let range = Span { start: outputs.start, end: outputs.end.min(c_out) };
            let gradient = self.gradient;
            let kernel =
                GradientTiles { tiling, gradient, channels: c_out, range, tiles, pixel: out_pixel, out: given };
            dispatch(instructions, kernel);
            for place in 0..PLACES {
                let grid = |values: &[f32], pixel: usize| Grid {
                    base: values[place * n * pixel..].as_ptr(),
                    image: 0,
                    row: 0,
                    column: pixel,
                };
                let product = OuterProduct {
                    a: grid(seen, pixel),
                    b: grid(given, out_pixel),
                    images: 1,
                    rows: 1,
                    columns: n,
                    taps: &[TapRows { a: 0, len: inputs.len(), c: 0 }],
                    width: outputs.len(),
                    stride: padded,
                    // SAFETY: inside the caller's result, which has all places.
                    c: unsafe { c.add(place * c_in * padded) },
                    first,
                };
                dispatch(instructions, product);
            }
        });
    }
}

/// `Gᵀ u G` of one row of the sums, after adding up their parts in order.
struct TransformBack {
    partial: *const f32,
    parts: usize,
    part: usize,
    place: usize,
    len: usize,
    to: *mut f32,
}

impl Kernel for TransformBack {
    #[inline(always)]
    fn run<V: Simd>(self) {
        for i in (0..self.len).step_by(V::LANES) {
            // SAFETY: rows are whole vectors; `backward_weight` gives the places.
            unsafe {
                let mut half = [[V::zero(); SEEN]; 3];
                for x in 0..SEEN {
                    let mut u = [V::zero(); SEEN];
                    for y in 0..SEEN {
                        let from = self.partial.add((y * SEEN + x) * self.place + i);
                        u[y] = V::load(from);
                        for part in 1..self.parts {
                            u[y] = u[y].add(V::load(from.add(part * self.part)));
                        }
                    }
                    let column = back_transform(u);
                    for y in 0..3 {
                        half[y][x] = column[y];
                    }
                }
                for y in 0..3 {
                    let row = back_transform(half[y]);
                    for x in 0..3 {
                        row[x].store(self.to.add((y * 3 + x) * self.place + i));
                    }
                }
            }
        }
    }
}

/// `Gᵀ u` for six sums.
#[inline(always)]
unsafe fn back_transform<V: Simd>(u: [V; SEEN]) -> [V; 3] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let sixth = V::splat(1.0 / 6.0);
        let near = u[1].add(u[2]).mul(sixth);
        let (far_sum, far_difference) = (u[3].add(u[4]), u[3].sub(u[4]));
        [
            u[0].mul_add(V::splat(0.25), far_sum.mul(V::splat(1.0 / 24.0))).sub(near),
            u[2].sub(u[1]).mul_add(sixth, far_difference.mul(V::splat(1.0 / 12.0))),
            far_sum.mul_add(sixth, u[5]).sub(near),
        ]
    }
}
