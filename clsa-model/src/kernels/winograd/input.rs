//! The transform of Winograd's inputs, `Bᵀ d B`.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use crate::kernels::activation_view::ActivationView;
use crate::kernels::element::{Element, part};
use crate::kernels::simd::{Kernel, Simd, dispatch, lanes};
use crate::kernels::span::Span;
use crate::kernels::tiling::{PLACES, SEEN, TilePlace, Tiling};
use clsa_cpu::InstructionSet;

/// `Bᵀ d B` of the 6x6 windows that tiles see, for some channels: `out` is (place, tile, channel), with `pixel` elements
/// from tile to tile, zero between the channels and the next whole vector.
#[derive(Clone, Copy)]
pub struct InputTiles<'a, E> {
    pub tiling: Tiling,
    pub source: ActivationView<'a, E>,
    pub group: usize,
    /// Channels of the source.
    pub channels: usize,
    /// Those that are transformed.
    pub range: Span,
    pub tiles: Span,
    pub pixel: usize,
}

impl<E: Element> InputTiles<'_, E> {
    /// Transforms the tiles to `out`.
    ///
    /// # Panics
    /// `out` is too short, or the channels are not in the source.
    pub fn transform(self, instructions: InstructionSet, out: &mut [f32]) {
        assert!(out.len() >= PLACES * self.tiles.len() * self.pixel);
        assert!(
            self.range.len().next_multiple_of(lanes(instructions)) <= self.pixel && self.range.end <= self.channels
        );
        dispatch(instructions, InputTilesTo { input: self, out: out.as_mut_ptr() });
    }
}

struct InputTilesTo<'a, E> {
    input: InputTiles<'a, E>,
    out: *mut f32,
}

impl<E: Element> Kernel for InputTilesTo<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let InputTiles { tiling, source, group, channels, range, tiles, pixel } = self.input;
        let stored = source.stored().as_ptr();
        let norm = source.norm_of_group(group, channels);
        let place = tiles.len() * pixel;
        for tile in tiles.start..tiles.end {
            let TilePlace { image, row: y0, column: x0 } = tiling.place(tile);
            let mut from = [std::ptr::null::<E>(); PLACES];
            for (i, from) in from.iter_mut().enumerate() {
                // Windows start one row and one column before their tile.
                let (y, x) = (y0 + i / SEEN, x0 + i % SEEN);
                if (1..=tiling.height).contains(&y) && (1..=tiling.width).contains(&x) {
                    let at = ((image * tiling.height + y - 1) * tiling.width + x - 1) * channels;
                    *from = stored.wrapping_add(at);
                }
            }
            for c in (range.start..range.end).step_by(V::LANES) {
                let lanes = range.end - c;
                // SAFETY: pointers that are not null are pixels of the input, with `channels` elements; `transform`
                // has checked the output.
                unsafe {
                    let (mut scale, mut shift, mut relu) = (V::zero(), V::zero(), false);
                    if let Some(norm) = norm {
                        (scale, shift) = (part(norm.scale.add(c), lanes), part(norm.shift.add(c), lanes));
                        relu = norm.relu;
                    }
                    let mut half = [[V::zero(); SEEN]; SEEN];
                    for x in 0..SEEN {
                        let mut column = [V::zero(); SEEN];
                        for y in 0..SEEN {
                            let from = from[y * SEEN + x];
                            if from.is_null() {
                                continue;
                            }
                            column[y] = part(from.add(c), lanes);
                            if norm.is_some() {
                                column[y] = column[y].mul_add(scale, shift);
                                if relu {
                                    column[y] = V::zero().max(column[y]);
                                }
                            }
                        }
                        let column = input_transform(column);
                        for y in 0..SEEN {
                            half[y][x] = column[y];
                        }
                    }
                    let out = self.out.add((tile - tiles.start) * pixel + c - range.start);
                    for y in 0..SEEN {
                        let row = input_transform(half[y]);
                        for x in 0..SEEN {
                            row[x].store(out.add((y * SEEN + x) * place));
                        }
                    }
                }
            }
        }
    }
}

/// `Bᵀ d` for six inputs.
#[inline(always)]
unsafe fn input_transform<V: Simd>(d: [V; SEEN]) -> [V; SEEN] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let (two, minus_four, minus_five, four) = (V::splat(2.0), V::splat(-4.0), V::splat(-5.0), V::splat(4.0));
        let even = d[2].mul_add(minus_four, d[4]);
        let odd = d[1].mul_add(minus_four, d[3]);
        let far_even = d[4].sub(d[2]);
        let far_odd = d[3].sub(d[1]).mul(two);
        [
            d[0].mul_add(four, d[2].mul_add(minus_five, d[4])),
            even.add(odd),
            even.sub(odd),
            far_even.add(far_odd),
            far_even.sub(far_odd),
            d[1].mul_add(four, d[3].mul_add(minus_five, d[5])),
        ]
    }
}
