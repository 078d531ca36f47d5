//! Convolution forward and backward to its input by the direct sum: the passes that [`ConvPass`] describes.

use super::activation_view::ActivationView;
use super::algorithm::TASKS;
use super::conv::Conv;
use super::conv_pass::{Block, ConvPass, Phase};
use super::element::Element;
use super::folded_norm::FoldedNorm;
use super::memory::{Memory, Shared, with_scratch};
use super::moments::{BlockOfMoments, Moments};
use super::operand::Operand;
use super::output::{BlockMoments, Output};
use super::packing::{Panel, WeightPacking};
use super::product::{Point, Product};
use super::shape::ImageShape;
use super::simd::lanes;
use super::span::{Span, share};
use super::tile::panel_width;
use super::window_copy::WindowCopy;
use clsa_cpu::InstructionSet;
use rayon::prelude::*;

/// As [`Conv::forward`], with products of operands of type `S`.
pub(super) fn forward<E: Element, S: Operand>(
    conv: &Conv<'_>,
    input: ActivationView<'_, E>,
    weight: &[f32],
    out: &mut [E],
) -> Moments {
    let (flat, groups) = (conv.shape.as_column_of_pixels(conv.groups), conv.groups);
    let conv = Conv { shape: flat, ..*conv };
    let pass = ConvPass::<S>::forward(flat, groups);
    let packed = pass.pack(&conv, weight);
    let stride = pass.output.channels.next_multiple_of(panel_width(lanes(conv.instructions)));
    let mut moments = BlockMoments::new(pass.blocks.len(), stride);
    pass.run(conv.instructions, input, &packed, out, moments.output());
    let part = |block: &Block| BlockOfMoments {
        group: block.image / pass.images_per_group,
        count: block.images * block.rows * pass.grid_columns,
    };
    moments.join(groups, pass.output.channels, pass.blocks.iter().map(part))
}

/// As [`Conv::forward_folded`]; scale and bias are padded to whole panels.
pub(super) fn forward_folded<E: Element, S: Operand>(
    conv: &Conv<'_>,
    input: ActivationView<'_, E>,
    weight: &[f32],
    norm: FoldedNorm<'_, E>,
    out: &mut [E],
) {
    let conv = Conv { shape: conv.shape.as_column_of_pixels(1), ..*conv };
    let pass = ConvPass::<S>::forward(conv.shape, 1);
    let packed = pass.pack(&conv, weight);
    pass.run(conv.instructions, input, &packed, out, Output::FoldedNorm(norm));
}

/// As [`Conv::backward_data`].
pub(super) fn backward_data<E: Element, S: Operand>(
    conv: &Conv<'_>,
    gradient: &[E],
    weight: &[f32],
    out: &mut [E],
    add: bool,
) {
    let conv = Conv { shape: conv.shape.as_column_of_pixels(1), ..*conv };
    let pass = ConvPass::<S>::backward(conv.shape);
    let packed = pass.pack(&conv, weight);
    let output = if add { Output::Add } else { Output::Write };
    pass.run(conv.instructions, ActivationView::Plain(gradient), &packed, out, output);
}

impl<S: Operand> ConvPass<S> {
    /// The weights in panels of output columns, phase after phase.
    fn pack(&self, conv: &Conv<'_>, weight: &[f32]) -> Memory<S> {
        let Conv { instructions, memory, shape, .. } = *conv;
        let vector = lanes(instructions);
        let columns = self.output.channels;
        let padded = columns.next_multiple_of(vector);
        let width = panel_width(vector);
        let k_all: usize = self.phases.iter().map(|p| p.k).sum();
        let mut packed = memory.take::<S>(padded * k_all);
        for phase in self.phases.iter().filter(|p| p.k > 0) {
            let packing = WeightPacking { instructions, direction: self.direction, weight, shape, taps: &phase.taps };
            let part = &mut packed[padded * phase.k_before..][..padded * phase.k];
            part.par_chunks_mut(width * phase.k).enumerate().for_each(|(index, out)| {
                S::pack(&packing, phase.run, Panel::of(index, width, columns, padded), out);
            });
        }
        packed
    }

    /// # Panics
    /// Input or output have another length than the pass's images.
    fn run<E: Element>(
        &self,
        instructions: InstructionSet,
        input: ActivationView<'_, E>,
        packed: &[S],
        out: &mut [E],
        output: Output<'_, E>,
    ) {
        let vector = lanes(instructions);
        let channels = self.output.channels;
        let (panels, padded) = (channels.div_ceil(panel_width(vector)), channels.next_multiple_of(vector));
        // Where blocks are few, each is computed in parts of its columns.
        let splits = TASKS.div_ceil(self.blocks.len()).min(panels);
        let images: usize = self.blocks.last().map_or(0, |b| b.image + b.images);
        assert_eq!(out.len(), images * self.output.len());
        assert_eq!(input.stored().len(), images * self.input.len());
        let add = matches!(output, Output::Add);
        let c = Shared::new(out);
        (0..self.blocks.len() * splits).into_par_iter().with_max_len(1).for_each(|task| {
            let (index, split) = (task / splits, task % splits);
            let block = self.blocks[index];
            let window = self.window(input, block);
            with_scratch(window.len(), |scratch: &mut [S]| {
                window.run(instructions, scratch);
                let mut points = Vec::with_capacity(block.images * block.rows * self.grid_columns);
                // A phase without taps is zero: there is nothing to add.
                for phase in self.phases.iter().filter(|phase| phase.k > 0 || !add) {
                    self.points(phase, block, &mut points);
                    let product = Product {
                        a: scratch.as_ptr(),
                        points: &points,
                        runs: &phase.runs,
                        b: packed[padded * phase.k_before..].as_ptr(),
                        k: phase.k,
                        panels: share(panels, split, splits),
                        columns: channels,
                        c: c.get(),
                        store: output.store(index),
                    };
                    S::product(instructions, product);
                }
            });
        });
    }

    /// The input that a block sees.
    fn window<'a, E>(&self, source: ActivationView<'a, E>, block: Block) -> WindowCopy<'a, E> {
        WindowCopy {
            source,
            image: self.input,
            first: block.image,
            group: block.image / self.images_per_group,
            images: block.images,
            top: (block.row * self.step * self.gather) as isize - self.before as isize,
            left: -(self.before as isize),
            gather: self.gather,
            rows: (block.rows - 1) * self.step + self.reach,
            columns: self.columns(),
            channels: Span { start: 0, end: self.input.channels },
            pixel: self.pixel,
            clear: false,
        }
    }

    /// Puts the outputs of a phase in a block into `points`, with where their inputs begin in the block's window.
    fn points(&self, phase: &Phase, block: Block, points: &mut Vec<Point>) {
        let ImageShape { height, width, channels } = self.output;
        let (rows, columns) = ((block.rows - 1) * self.step + self.reach, self.columns());
        points.clear();
        for image in 0..block.images {
            for y in 0..block.rows {
                let out_y = (block.row + y) * self.spread + phase.y;
                if out_y >= height {
                    continue;
                }
                for x in 0..self.grid_columns {
                    let out_x = x * self.spread + phase.x;
                    if out_x < width {
                        let row = image * rows + y * self.step;
                        points.push(Point {
                            a: (row * columns + x * self.step) * self.pixel,
                            c: (((block.image + image) * height + out_y) * width + out_x) * channels,
                        });
                    }
                }
            }
        }
    }
}
