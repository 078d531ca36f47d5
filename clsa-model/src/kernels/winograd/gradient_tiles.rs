//! The transform of the output's gradient for Winograd's weight gradient, `A g Aᵀ`.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use crate::kernels::element::{Element, part};
use crate::kernels::simd::{Kernel, Simd};
use crate::kernels::span::Span;
use crate::kernels::tiling::{PLACES, SEEN, TILE, TilePlace, Tiling};

/// `A g Aᵀ` of the tiles of the output's gradient, zero outside the image and beyond the channels.
pub struct GradientTiles<'a, E> {
    pub tiling: Tiling,
    pub gradient: &'a [E],
    /// Channels of the gradient.
    pub channels: usize,
    /// Those that are transformed.
    pub range: Span,
    pub tiles: Span,
    pub pixel: usize,
    pub out: &'a mut [f32],
}

impl<E: Element> Kernel for GradientTiles<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { tiling, gradient, channels, range, tiles, pixel, out } = self;
        let place = tiles.len() * pixel;
        assert!(out.len() >= PLACES * place);
        for tile in tiles.start..tiles.end {
            let TilePlace { image, row: y0, column: x0 } = tiling.place(tile);
            let (rows, columns) = (TILE.min(tiling.height - y0), TILE.min(tiling.width - x0));
            for c in (range.start..range.end).step_by(V::LANES) {
                let lanes = range.end - c;
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
                    let to = out.as_mut_ptr().add((tile - tiles.start) * pixel + c - range.start);
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
