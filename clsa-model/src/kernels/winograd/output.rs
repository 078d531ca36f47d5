//! The transform of Winograd's products to outputs, `Aᵀ m A`, and what is done with them.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use crate::kernels::element::{Element, part, write};
use crate::kernels::memory::Shared;
use crate::kernels::product::Store;
use crate::kernels::simd::{Kernel, Simd};
use crate::kernels::span::Span;
use crate::kernels::tiling::{SEEN, TILE, TilePlace, Tiling};

/// `Aᵀ m A` of tiles of products (place, tile, channel), and what is done with the outputs.
pub struct OutputTiles<E> {
    pub tiling: Tiling,
    pub tiles: Span,
    /// Channels of the output.
    pub channels: usize,
    /// Those that the products are of.
    pub range: Span,
    pub products: *const f32,
    /// Distance between the products of two tiles.
    pub pixel: usize,
    pub to: Shared<E>,
    pub store: Store<E>,
}

impl<E: Element> Kernel for OutputTiles<E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { tiling, tiles, channels, range, pixel, .. } = self;
        let place = tiles.len() * pixel;
        for tile in tiles.start..tiles.end {
            let TilePlace { image, row: y0, column: x0 } = tiling.place(tile);
            let (rows, columns) = (TILE.min(tiling.height - y0), TILE.min(tiling.width - x0));
            for c in (range.start..range.end).step_by(V::LANES) {
                let lanes = range.end - c;
                // SAFETY: the pass gives products of whole vectors for all channels of the range, and outputs that no
                // other task has.
                unsafe {
                    let from = self.products.add((tile - tiles.start) * pixel + c - range.start);
                    let mut out = outputs::<V>(from, place);
                    let first = ((image * tiling.height + y0) * tiling.width + x0) * channels + c;
                    let offset = |y: usize, x: usize| first + (y * tiling.width + x) * channels;
                    match self.store {
                        Store::Write => {}
                        Store::Add => {
                            for y in 0..rows {
                                for x in 0..columns {
                                    let old = part(self.to.get().add(offset(y, x)), lanes);
                                    out[y][x] = out[y][x].add(old);
                                }
                            }
                        }
                        Store::FoldedNorm { scale, bias, residual, relu } => {
                            let (scale, bias): (V, V) = (part(scale.add(c), lanes), part(bias.add(c), lanes));
                            for y in 0..rows {
                                for x in 0..columns {
                                    let mut v = out[y][x].mul_add(scale, bias);
                                    if !residual.is_null() {
                                        v = v.add(part(residual.add(offset(y, x)), lanes));
                                    }
                                    out[y][x] = if relu { V::zero().max(v) } else { v };
                                }
                            }
                        }
                        Store::Moments { moments, stride } => {
                            let pivot = moments.add(c);
                            let (sum, squares) = (pivot.add(stride), pivot.add(2 * stride));
                            for y in 0..rows {
                                for x in 0..columns {
                                    out[y][x] = E::round(out[y][x]);
                                }
                            }
                            if tile == tiles.start {
                                out[0][0].store(pivot);
                                V::zero().store(sum);
                                V::zero().store(squares);
                            }
                            let p = V::load(pivot);
                            let (mut s, mut q) = (V::load(sum), V::load(squares));
                            for y in 0..rows {
                                for x in 0..columns {
                                    let distance = out[y][x].sub(p);
                                    s = s.add(distance);
                                    q = distance.mul_add(distance, q);
                                }
                            }
                            s.store(sum);
                            q.store(squares);
                        }
                    }
                    for y in 0..rows {
                        for x in 0..columns {
                            write(out[y][x], self.to.get().add(offset(y, x)), lanes);
                        }
                    }
                }
            }
        }
    }
}

/// `Aᵀ m A` for a vector of channels of a tile, whose products are `place` elements apart.
#[inline(always)]
unsafe fn outputs<V: Simd>(from: *const f32, place: usize) -> [[V; TILE]; TILE] {
    // SAFETY: the caller gives the products of all places and has the instruction set.
    unsafe {
        let mut half = [[V::zero(); SEEN]; TILE];
        for x in 0..SEEN {
            let m = |y: usize| V::load(from.add((y * SEEN + x) * place));
            let column = output_transform([m(0), m(1), m(2), m(3), m(4), m(5)]);
            for y in 0..TILE {
                half[y][x] = column[y];
            }
        }
        let mut out = [[V::zero(); TILE]; TILE];
        for y in 0..TILE {
            out[y] = output_transform(half[y]);
        }
        out
    }
}

/// `Aᵀ m` for six products.
#[inline(always)]
unsafe fn output_transform<V: Simd>(m: [V; SEEN]) -> [V; TILE] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum).add(far_sum),
            far_difference.mul_add(V::splat(2.0), difference),
            far_sum.mul_add(V::splat(4.0), sum),
            far_difference.mul_add(V::splat(8.0), difference).add(m[5]),
        ]
    }
}
