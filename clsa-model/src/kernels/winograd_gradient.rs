//! The weight gradient of 3x3 convolutions of stride 1 by Winograd's minimal filtering: the inputs' windows and the tiles
//! of the output's gradient are transformed, each of the 36 places is a sum of outer products, and the sums are
//! transformed back to 3x3.

use super::element::{Element, part};
use super::memory::{Pool, Shared, with_scratch};
use super::micro::{Grid, OuterProduct, Tap};
use super::operand::Operand;
use super::packing::add_transposed;
use super::shape::ConvShape;
use super::simd::{Isa, Kernel, Simd, dispatch};
use super::source::Source;
use super::weight_gradient::TASKS;
use super::winograd::{InputTiles, PLACES, SEEN, TILE, Tiling};
use rayon::prelude::*;

/// Tiles of a chunk, over which sums stay in registers.
const TILES: usize = 28;
/// Channels of a block of the result.
const IN_BLOCK: usize = 64;
const OUT_BLOCK: usize = 128;

/// As `weight_gradient::backward_weight`.
pub(super) fn backward_weight<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    gradient: &[E],
    out: &mut [f32],
) {
    let ConvShape { c_in, c_out, .. } = shape;
    let tiling = Tiling::new(shape);
    let images_per_group = shape.batch / groups;
    let chunks = tiling.blocks(groups, TILES);
    let padded = c_out.next_multiple_of(isa.lanes());
    let (in_blocks, out_blocks) = (c_in.div_ceil(IN_BLOCK), padded.div_ceil(OUT_BLOCK));
    let blocks = in_blocks * out_blocks;
    let parts = TASKS.div_ceil(blocks).min(chunks.len());
    let part_len = PLACES * c_in * padded;
    let mut partial = pool.take::<f32>(parts * part_len);
    let sums = Shared::new(&mut partial);
    (0..parts * blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (part, block) = (task / blocks, task % blocks);
        let i0 = block / out_blocks * IN_BLOCK;
        let i1 = (i0 + IN_BLOCK).min(c_in);
        let o0 = block % out_blocks * OUT_BLOCK;
        let o1 = (o0 + OUT_BLOCK).min(padded);
        let (pixel, out_pixel) =
            (f32::pixel_distance((i1 - i0).next_multiple_of(isa.lanes())), f32::pixel_distance(o1 - o0));
        let owned = &chunks[chunks.len() * part / parts..chunks.len() * (part + 1) / parts];
        for (index, &tiles) in owned.iter().enumerate() {
            let n = tiles.1 - tiles.0;
            let seen_len = PLACES * n * pixel;
            with_scratch(seen_len + PLACES * n * out_pixel, |scratch: &mut [f32]| {
                let (seen, given) = scratch.split_at_mut(seen_len);
                let group = tiles.0 / tiling.per_image() / images_per_group;
                InputTiles { tiling, source: input, group, channels: c_in, range: (i0, i1), tiles, pixel }
                    .to(isa, seen);
                let range = (o0, o1.min(c_out));
                let kernel =
                    GradientTiles { tiling, gradient, channels: c_out, range, tiles, pixel: out_pixel, out: given };
                dispatch(isa, kernel);
                for place in 0..PLACES {
                    let grid = |values: &[f32], pixel: usize| Grid {
                        base: values[place * n * pixel..].as_ptr(),
                        image: 0,
                        row: 0,
                        column: pixel,
                    };
                    // SAFETY: inside `partial`; no other task has this part and these rows and columns.
                    let c = unsafe { sums.get().add(part * part_len + (place * c_in + i0) * padded + o0) };
                    dispatch(
                        isa,
                        OuterProduct {
                            a: grid(seen, pixel),
                            b: grid(given, out_pixel),
                            images: 1,
                            rows: 1,
                            columns: n,
                            taps: &[Tap { a: 0, len: i1 - i0, c: 0 }],
                            width: o1 - o0,
                            stride: padded,
                            c,
                            first: index == 0,
                        },
                    );
                }
            });
        }
    });
    let mut direct = pool.take::<f32>(9 * c_in * padded);
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
        dispatch(isa, kernel);
    });
    add_transposed(isa, &direct, shape, padded, out);
}

/// `A g Aᵀ` of the tiles of the output's gradient, zero outside the image and beyond the channels.
struct GradientTiles<'a, E> {
    tiling: Tiling,
    gradient: &'a [E],
    channels: usize,
    range: (usize, usize),
    tiles: (usize, usize),
    pixel: usize,
    out: &'a mut [f32],
}

impl<E: Element> Kernel for GradientTiles<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { tiling, gradient, channels, range, tiles, pixel, out } = self;
        let place = (tiles.1 - tiles.0) * pixel;
        assert!(out.len() >= PLACES * place);
        for tile in tiles.0..tiles.1 {
            let (image, y0, x0) = tiling.place(tile);
            let (rows, columns) = (TILE.min(tiling.height - y0), TILE.min(tiling.width - x0));
            for c in (range.0..range.1).step_by(V::LANES) {
                let lanes = range.1 - c;
                // SAFETY: rows and columns are inside the image, channels inside the range, the output was checked.
                unsafe {
                    let mut half = [[V::zero(); TILE]; SEEN];
                    for x in 0..TILE {
                        let mut g = [V::zero(); TILE];
                        for y in 0..TILE {
                            if y < rows && x < columns {
                                let at = ((image * tiling.height + y0 + y) * tiling.width + x0 + x) * channels + c;
                                g[y] = part(gradient.as_ptr().add(at), lanes);
                            }
                        }
                        let column = gradient_transform(g);
                        for y in 0..SEEN {
                            half[y][x] = column[y];
                        }
                    }
                    let to = out.as_mut_ptr().add((tile - tiles.0) * pixel + c - range.0);
                    for y in 0..SEEN {
                        let row = gradient_transform(half[y]);
                        for x in 0..SEEN {
                            row[x].store(to.add((y * SEEN + x) * place));
                        }
                    }
                }
            }
        }
    }
}

/// `A g` for four gradients.
#[inline(always)]
unsafe fn gradient_transform<V: Simd>(g: [V; TILE]) -> [V; SEEN] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let (even, odd) = (g[0].add(g[2]), g[1].add(g[3]));
        let far_even = g[2].mul_add(V::splat(4.0), g[0]);
        let far_odd = g[3].mul_add(V::splat(8.0), g[1].add(g[1]));
        [g[0], even.add(odd), even.sub(odd), far_even.add(far_odd), far_even.sub(far_odd), g[3]]
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
