//! The geometry of a direct convolution, forward or backward to its input, as one pass over blocks of output pixels: a
//! block's input window is copied into scratch, and every output pixel is a row of a product whose left operand is
//! addressed in that window.

use super::algorithm::TASKS;
use super::multiply::Words;
use super::packing::Direction;
use super::product::Run;
use super::shape::{ConvShape, ImageShape, KernelTap};
use std::marker::PhantomData;

/// Bytes of a block's window: with a panel of weights it fills a good part of a 1 MiB second-level cache.
const WINDOW: usize = 384 * 1024;

/// A part of a pass's output: some images, or some rows of one image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First image.
    pub image: usize,
    pub images: usize,
    /// First row of the grid.
    pub row: usize,
    pub rows: usize,
}

/// The outputs at one offset within `spread` x `spread` pixels, which see the same taps. Forward has one phase;
/// backward through a convolution of stride 2 has four.
pub(super) struct Phase {
    pub y: usize,
    pub x: usize,
    pub runs: Vec<Run>,
    /// The kernel's taps in the order of the runs.
    pub taps: Vec<KernelTap>,
    /// Length of each run.
    pub run: usize,
    /// Summed elements with those that fill up words, and those of the phases before.
    pub k: usize,
    pub k_before: usize,
}

/// How a pass of a convolution, forward or backward to its input, walks over its output. Its products are of operands of
/// type `S`.
pub(super) struct ConvPass<S> {
    /// An image that is read.
    pub input: ImageShape,
    /// An image that is written.
    pub output: ImageShape,
    pub images_per_group: usize,
    /// Output pixel (y, x) of a phase is pixel (y·spread + phase.y, x·spread + phase.x).
    pub spread: usize,
    /// Output pixels of the first phase in an image, which has the most.
    pub grid_rows: usize,
    pub grid_columns: usize,
    /// Scratch pixels from one grid pixel to the next.
    pub step: usize,
    /// Input pixels from one scratch pixel to the next.
    pub gather: usize,
    /// Zeros before the first row and column.
    pub before: usize,
    /// Scratch rows and columns that one grid pixel sees.
    pub reach: usize,
    /// Distance between scratch pixels.
    pub pixel: usize,
    pub phases: Vec<Phase>,
    pub blocks: Vec<Block>,
    pub direction: Direction,
    operand: PhantomData<S>,
}

impl<S: Words> ConvPass<S> {
    /// Forward, on images that [`ConvShape::as_column_of_pixels`] may have joined.
    pub fn forward(shape: ConvShape, groups: usize) -> Self {
        let ConvShape { kernel, stride, padding, c_in, .. } = shape;
        let pointwise = kernel == 1 && padding == 0;
        let pixel = S::pixel_distance(c_in);
        let columns = (shape.out_width() - 1) * if pointwise { 1 } else { stride } + kernel;
        let taps = shape.taps();
        let (run, runs): (_, Vec<_>) = if pixel == c_in {
            let run = kernel * c_in;
            (run, (0..kernel).map(|r| Run { offset: r * columns * pixel, len: run }).collect())
        } else {
            (c_in, taps.iter().map(|tap| Run { offset: (tap.row * columns + tap.column) * pixel, len: c_in }).collect())
        };
        let k = runs.len() * S::whole_words(run);
        let mut pass = Self {
            input: shape.input(),
            output: shape.output(),
            images_per_group: shape.batch / groups,
            spread: 1,
            grid_rows: shape.out_height(),
            grid_columns: shape.out_width(),
            step: if pointwise { 1 } else { stride },
            gather: if pointwise { stride } else { 1 },
            before: padding,
            reach: kernel,
            pixel,
            phases: vec![Phase { y: 0, x: 0, runs, taps, run, k, k_before: 0 }],
            blocks: Vec::new(),
            direction: Direction::Forward,
            operand: PhantomData,
        };
        pass.cut(groups);
        pass
    }

    /// Backward to the input: what is read is the gradient of the output.
    pub fn backward(shape: ConvShape) -> Self {
        let ConvShape { kernel, stride, padding, c_out, .. } = shape;
        let pixel = S::pixel_distance(c_out);
        // Input row y·stride + phase is seen by kernel rows r = first, first + stride, ..: from output rows
        // y + last, y + last - 1, ..
        let first = |phase: usize| (phase + padding) % stride;
        let last = |phase: usize| (phase + padding) / stride;
        let taps_of = |phase: usize| (kernel.saturating_sub(first(phase))).div_ceil(stride);
        let before = (0..stride).map(|p| taps_of(p) as isize - 1 - last(p) as isize).max().unwrap_or(0).max(0) as usize;
        let after = (0..stride).map(last).max().unwrap_or(0);
        let reach = before + after + 1;
        let (grid_rows, grid_columns) = (shape.height.div_ceil(stride), shape.width.div_ceil(stride));
        let columns = grid_columns - 1 + reach;
        let mut phases = Vec::new();
        let mut k_before = 0;
        for y in 0..stride {
            for x in 0..stride {
                let (mut runs, mut taps) = (Vec::new(), Vec::new());
                for i in 0..taps_of(y) {
                    for j in 0..taps_of(x) {
                        let (row, column) = (before + last(y) - i, before + last(x) - j);
                        runs.push(Run { offset: (row * columns + column) * pixel, len: c_out });
                        taps.push(KernelTap { row: first(y) + i * stride, column: first(x) + j * stride });
                    }
                }
                let k = taps.len() * S::whole_words(c_out);
                phases.push(Phase { y, x, runs, taps, run: c_out, k, k_before });
                k_before += k;
            }
        }
        let mut pass = Self {
            input: shape.output(),
            output: shape.input(),
            images_per_group: shape.batch,
            spread: stride,
            grid_rows,
            grid_columns,
            step: 1,
            gather: 1,
            before,
            reach,
            pixel,
            phases,
            blocks: Vec::new(),
            direction: Direction::Backward,
            operand: PhantomData,
        };
        pass.cut(1);
        pass
    }

    /// Cuts the output into blocks, none across groups.
    fn cut(&mut self, groups: usize) {
        let (rows, columns) = (self.grid_rows, self.grid_columns);
        let images = groups * self.images_per_group;
        let most = WINDOW / size_of::<S>();
        let row_len = self.columns() * self.step * self.pixel;
        let halo = (self.reach - self.step.min(self.reach)) * self.columns() * self.pixel;
        // Of a group, so that its moments are what they are where it is the whole batch.
        let share = (self.images_per_group * rows * columns).div_ceil(TASKS);
        let mut most_rows = (most.saturating_sub(halo) / row_len).max(1);
        if columns == 1 {
            // A column of pixels can be cut anywhere: at whole register tiles, of 14 or 6 rows.
            most_rows = most_rows.min(share.next_multiple_of(84));
            most_rows = if most_rows >= 84 { most_rows / 84 * 84 } else { most_rows.next_multiple_of(14).min(84) };
        } else {
            most_rows = most_rows.min(share.div_ceil(columns).max(28usize.div_ceil(columns)));
        }
        if most_rows < rows {
            for image in 0..images {
                let parts = rows.div_ceil(most_rows);
                let height = if columns == 1 { most_rows } else { rows.div_ceil(parts) };
                for row in (0..rows).step_by(height) {
                    self.blocks.push(Block { image, images: 1, row, rows: height.min(rows - row) });
                }
            }
        } else {
            let window = (rows * self.step + self.reach) * self.columns() * self.pixel;
            let most = (most / window).clamp(1, share.div_ceil(rows * columns));
            for group in 0..groups {
                for first in (0..self.images_per_group).step_by(most) {
                    let images = most.min(self.images_per_group - first);
                    self.blocks.push(Block { image: group * self.images_per_group + first, images, row: 0, rows });
                }
            }
        }
    }

    /// Scratch columns.
    pub fn columns(&self) -> usize {
        (self.grid_columns - 1) * self.step + self.reach
    }
}
