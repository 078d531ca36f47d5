//! A block of the weight gradient over some chunks of pixels: windows of input and gradient are copied into scratch, whose
//! outer products are summed in registers.

use super::blocks::{ChannelBlock, PixelChunk};
use crate::kernels::activation_view::ActivationView;
use crate::kernels::element::Element;
use crate::kernels::memory::with_scratch;
use crate::kernels::operand::Operand;
use crate::kernels::outer_product::{Grid, OuterProduct, TapRows};
use crate::kernels::shape::ConvShape;
use crate::kernels::span::Span;
use crate::kernels::window_copy::WindowCopy;
use clsa_cpu::InstructionSet;
use std::marker::PhantomData;

/// What the tasks of one product share.
pub struct SharedContext<'a, E, S> {
    pub instructions: InstructionSet,
    pub shape: ConvShape,
    pub images_per_group: usize,
    pub input: ActivationView<'a, E>,
    pub gradient: &'a [E],
    pub operand: PhantomData<S>,
}

/// The scratch of a block's products.
#[derive(Clone, Copy)]
struct Scratch {
    block: ChannelBlock,
    /// Input pixels from one scratch pixel to the next, and scratch pixels from one output to the next.
    gather: usize,
    step: usize,
    /// Scratch columns of the input.
    columns: usize,
    /// Distances between scratch pixels of input and gradient, in words.
    pixel: usize,
    out_pixel: usize,
}

impl<E: Element, S: Operand> SharedContext<'_, E, S> {
    /// Sums over the chunks, those of a word at a time, into the block of the result at `c`.
    pub fn run(&self, chunks: &[&[PixelChunk]], block: ChannelBlock, c: *mut f32) {
        let scratch = self.scratch(block);
        let taps = self.taps(scratch);
        for (index, chunks) in chunks.iter().enumerate() {
            self.add_chunks(chunks, scratch, &taps, c, index == 0);
        }
    }

    fn scratch(&self, block: ChannelBlock) -> Scratch {
        let ConvShape { kernel, stride, padding, .. } = self.shape;
        let pointwise = kernel == 1 && padding == 0;
        let (gather, step) = if pointwise { (stride, 1) } else { (1, stride) };
        Scratch {
            block,
            gather,
            step,
            columns: (self.shape.out_width() - 1) * step + kernel,
            pixel: S::word_distance(block.inputs.len()),
            out_pixel: S::word_distance(block.outputs.len()),
        }
    }

    /// The rows of the result: those of a kernel's row are one run where its pixels' channels are.
    fn taps(&self, scratch: Scratch) -> Vec<TapRows> {
        let ConvShape { kernel, c_in, .. } = self.shape;
        let Scratch { block, columns, pixel, .. } = scratch;
        let len = block.inputs.len();
        if len == c_in && pixel == c_in {
            (0..kernel).map(|r| TapRows { a: r * columns * pixel, len: kernel * c_in, c: r * kernel * len }).collect()
        } else {
            let taps = self.shape.taps().into_iter().enumerate();
            taps.map(|(t, tap)| TapRows { a: (tap.row * columns + tap.column) * pixel, len, c: t * len }).collect()
        }
    }

    /// Adds the products of the chunks of a word to the block at `c`, or writes them there if they are the first.
    fn add_chunks(&self, chunks: &[PixelChunk], scratch: Scratch, taps: &[TapRows], c: *mut f32, first: bool) {
        let Scratch { block, step, columns, pixel, out_pixel, .. } = scratch;
        let out_columns = self.shape.out_width();
        let images = chunks.iter().map(|c| c.images).max().unwrap_or(0);
        let chunk_rows = chunks.iter().map(|c| c.rows.len()).max().unwrap_or(0);
        let rows = (chunk_rows - 1) * step + self.shape.kernel;
        let input_len = (images * rows * columns * pixel * S::PER_WORD).next_multiple_of(32);
        let gradient_len = images * chunk_rows * out_columns * out_pixel * S::PER_WORD;
        with_scratch(input_len + gradient_len, |words: &mut [S]| {
            let (a, b) = words.split_at_mut(input_len);
            let input: Vec<_> = chunks.iter().map(|&chunk| self.input_window(chunk, scratch)).collect();
            S::copy_windows(self.instructions, &input, a);
            let gradient: Vec<_> = chunks.iter().map(|&chunk| self.gradient_window(chunk, scratch)).collect();
            S::copy_windows(self.instructions, &gradient, b);
            let mut a = Grid {
                base: a.as_ptr(),
                image: rows * columns * pixel,
                row: step * columns * pixel,
                column: step * pixel,
            };
            let mut b = Grid {
                base: b.as_ptr(),
                image: chunk_rows * out_columns * out_pixel,
                row: out_columns * out_pixel,
                column: out_pixel,
            };
            let (mut grid_rows, mut grid_columns) = (chunk_rows, out_columns);
            if grid_columns == 1 {
                // The inner loop is over columns.
                (grid_rows, grid_columns) = (1, grid_rows);
                (a.column, b.column) = (a.row, b.row);
            }
            let product = OuterProduct {
                a,
                b,
                images,
                rows: grid_rows,
                columns: grid_columns,
                taps,
                width: block.outputs.len(),
                stride: block.outputs.len(),
                c,
                first,
            };
            S::outer_product(self.instructions, product);
        });
    }

    /// The input that the pixels of a chunk see.
    fn input_window(&self, chunk: PixelChunk, scratch: Scratch) -> WindowCopy<'_, E> {
        let Scratch { block, gather, step, columns, pixel, .. } = scratch;
        let padding = self.shape.padding as isize;
        WindowCopy {
            source: self.input,
            image: self.shape.input(),
            first: chunk.image,
            group: chunk.image / self.images_per_group,
            images: chunk.images,
            top: (chunk.rows.start * step * gather) as isize - padding,
            left: -padding,
            gather,
            rows: (chunk.rows.len() - 1) * step + self.shape.kernel,
            columns,
            channels: block.inputs,
            pixel,
            clear: false,
        }
    }

    /// The gradient of the pixels of a chunk, with zeros for channels that there are not.
    fn gradient_window(&self, chunk: PixelChunk, scratch: Scratch) -> WindowCopy<'_, E> {
        let Span { start, end } = scratch.block.outputs;
        WindowCopy {
            source: ActivationView::Plain(self.gradient),
            image: self.shape.output(),
            first: chunk.image,
            group: 0,
            images: chunk.images,
            top: chunk.rows.start as isize,
            left: 0,
            gather: 1,
            rows: chunk.rows.len(),
            columns: self.shape.out_width(),
            channels: Span { start, end: end.min(self.shape.c_out) },
            pixel: scratch.out_pixel,
            clear: end > self.shape.c_out,
        }
    }
}
