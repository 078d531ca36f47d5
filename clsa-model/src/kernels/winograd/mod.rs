//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015): 36 multiplications for
//! 16 outputs where the direct sum takes 144. Every 6x6 window of the input and every kernel is transformed, the
//! convolution is then one product for each of the 36 places, and the results are transformed back.

mod gradient;
mod gradient_tiles;
mod input;
mod output;
mod weight;

pub(super) use gradient::backward_weight;

use super::activation_view::ActivationView;
use super::algorithm::TASKS;
use super::conv::Conv;
use super::element::Element;
use super::folded_norm::FoldedNorm;
use super::memory::{Shared, with_scratch};
use super::moments::{BlockOfMoments, Moments};
use super::multiply::Words;
use super::output::{BlockMoments, Output};
use super::packing::Direction;
use super::product::{Point, Product, Run, Store};
use super::shape::ConvShape;
use super::simd::{dispatch, lanes};
use super::span::{Span, share};
use super::tile::panel_width;
use super::tiling::{PLACES, Tiling};
use clsa_cpu::InstructionSet;
use input::InputTiles;
use output::OutputTiles;
use rayon::prelude::*;
use weight::transform_kernels;

/// As [`Conv::forward`].
pub(super) fn forward<E: Element>(
    conv: &Conv<'_>,
    input: ActivationView<'_, E>,
    weight: &[f32],
    out: &mut [E],
) -> Moments {
    let Conv { shape, groups, instructions, .. } = *conv;
    let packed = transform_kernels(conv, weight, Direction::Forward);
    let pass = Pass::new(instructions, shape, groups);
    let stride = shape.c_out.next_multiple_of(panel_width(lanes(instructions)));
    let mut moments = BlockMoments::new(pass.blocks.len(), stride);
    pass.run(input, &packed, out, moments.output());
    let block = |tiles: &Span| BlockOfMoments {
        group: pass.group(*tiles),
        count: (tiles.start..tiles.end).map(|tile| pass.tiling.outputs(tile)).sum(),
    };
    moments.join(groups, shape.c_out, pass.blocks.iter().map(block))
}

/// As [`Conv::forward_folded`]; scale and bias are padded to whole panels.
pub(super) fn forward_folded<E: Element>(
    conv: &Conv<'_>,
    input: ActivationView<'_, E>,
    weight: &[f32],
    norm: FoldedNorm<'_, E>,
    out: &mut [E],
) {
    let packed = transform_kernels(conv, weight, Direction::Forward);
    Pass::new(conv.instructions, conv.shape, 1).run(input, &packed, out, Output::FoldedNorm(norm));
}

/// As [`Conv::backward_data`]: a convolution with the kernels turned by 180 degrees.
pub(super) fn backward_data<E: Element>(conv: &Conv<'_>, gradient: &[E], weight: &[f32], out: &mut [E], add: bool) {
    let packed = transform_kernels(conv, weight, Direction::Backward);
    let turned = ConvShape { c_in: conv.shape.c_out, c_out: conv.shape.c_in, ..conv.shape };
    let output = if add { Output::Add } else { Output::Write };
    Pass::new(conv.instructions, turned, 1).run(ActivationView::Plain(gradient), &packed, out, output);
}

/// A pass over blocks of tiles.
struct Pass {
    instructions: InstructionSet,
    tiling: Tiling,
    /// Ranges of tiles.
    blocks: Vec<Span>,
    images_per_group: usize,
    /// Channels that are read and written.
    c_in: usize,
    c_out: usize,
}

impl Pass {
    fn new(instructions: InstructionSet, shape: ConvShape, groups: usize) -> Self {
        let tiling = Tiling::new(shape);
        // What is transformed at a time should stay in the second-level cache, but every block reads all the kernels.
        let block_tiles = if shape.c_in + shape.c_out <= 128 { 42 } else { 28 };
        Self {
            instructions,
            tiling,
            blocks: tiling.blocks(groups, block_tiles),
            images_per_group: shape.batch / groups,
            c_in: shape.c_in,
            c_out: shape.c_out,
        }
    }

    /// The group of a block.
    fn group(&self, tiles: Span) -> usize {
        tiles.start / self.tiling.per_image() / self.images_per_group
    }

    /// # Panics
    /// Input or output have another length than the tiling's images.
    fn run<E: Element>(&self, input: ActivationView<'_, E>, packed: &[f32], out: &mut [E], output: Output<'_, E>) {
        let Self { instructions, tiling, c_in, c_out, .. } = *self;
        let pixels = tiling.images * tiling.height * tiling.width;
        assert_eq!(input.stored().len(), pixels * c_in);
        assert_eq!(out.len(), pixels * c_out);
        let vector = lanes(instructions);
        let (padded, width) = (c_out.next_multiple_of(vector), panel_width(vector));
        let panels = c_out.div_ceil(width);
        let splits = TASKS.div_ceil(self.blocks.len()).min(panels);
        let pixel = f32::pixel_distance(c_in.next_multiple_of(vector));
        let to = Shared::new(out);
        (0..self.blocks.len() * splits).into_par_iter().with_max_len(1).for_each(|task| {
            let (index, split) = (task / splits, task % splits);
            let tiles = self.blocks[index];
            let own = share(panels, split, splits);
            let columns = Span { start: own.start * width, end: (own.end * width).min(padded) };
            let product_pixel = f32::pixel_distance(columns.len());
            let seen_len = PLACES * tiles.len() * pixel;
            with_scratch(seen_len + PLACES * tiles.len() * product_pixel, |scratch: &mut [f32]| {
                let (seen, products) = scratch.split_at_mut(seen_len);
                let (group, range) = (self.group(tiles), Span { start: 0, end: c_in });
                InputTiles { tiling, source: input, group, channels: c_in, range, tiles, pixel }
                    .transform(instructions, seen);
                let points: Vec<Point> =
                    (0..tiles.len()).map(|tile| Point { a: tile * pixel, c: tile * product_pixel }).collect();
                for place in 0..PLACES {
                    let product = Product {
                        a: seen[place * tiles.len() * pixel..].as_ptr(),
                        points: &points,
                        runs: &[Run { offset: 0, len: c_in }],
                        b: packed[place * padded * c_in + columns.start * c_in..].as_ptr(),
                        k: c_in,
                        panels: Span { start: 0, end: own.len() },
                        columns: columns.len(),
                        c: products[place * tiles.len() * product_pixel..].as_mut_ptr(),
                        store: Store::Write,
                    };
                    dispatch(instructions, product);
                }
                let transform = OutputTiles {
                    tiling,
                    tiles,
                    channels: c_out,
                    range: Span { start: columns.start, end: columns.end.min(c_out) },
                    products: products.as_ptr(),
                    pixel: product_pixel,
                    to,
                    store: output.store(index),
                };
                dispatch(instructions, transform);
            });
        });
    }
}
