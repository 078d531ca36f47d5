//! Convolution forward and backward to its input, as one walk over blocks of output pixels: a block's input window is
//! copied into scratch, and every output pixel is a row of a product whose left operand is addressed in that window.

use super::element::Element;
use super::memory::{Buffer, Pool, Shared, with_scratch};
use super::micro::{Point, Product, Run, Store, panel_width};
use super::moments::Moments;
use super::operand::Operand;
use super::packing::Packing;
use super::shape::ConvShape;
use super::simd::Isa;
use super::source::{Fill, Source};
use super::winograd;
use half::bf16;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Bytes of a block's window: with a panel of weights it fills a good part of a 1 MiB second-level cache.
const WINDOW: usize = 384 * 1024;
/// Blocks that a walk is cut into at least, where the shape allows, so that there is work for several threads. A
/// constant: results must not depend on the number of threads.
const BLOCKS: usize = 8;

/// What is done with a convolution's output in evaluation mode, where batch norm is a factor and a sum per channel.
#[derive(Clone, Copy)]
pub struct Finish<'a, E> {
    /// Multiplies each channel.
    pub scale: &'a [f32],
    /// Added to each channel then.
    pub bias: &'a [f32],
    /// Added to the output, of its shape.
    pub residual: Option<&'a [E]>,
    /// Whether ReLU follows.
    pub relu: bool,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The sum itself, of products of f32.
    Direct,
    /// The sum itself, of products of bf16.
    DirectPairs,
    /// Winograd's, in f32.
    Winograd,
}

impl Way {
    /// The fastest way to compute on stored elements of a type.
    pub fn of<E: Element>(isa: Isa, shape: ConvShape) -> Self {
        if winograd::applies(shape) {
            Self::Winograd
        } else if E::BF16 && isa == Isa::Avx512Bf16 {
            Self::DirectPairs
        } else {
            Self::Direct
        }
    }
}

/// Convolution of a training pass: writes the output (N, H', W', c_out) to `out` and returns its moments per group of
/// `shape.batch / groups` images. `weight` is (c_out, c_in, kernel, kernel).
pub fn forward<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    weight: &[f32],
    out: &mut [E],
) -> Moments {
    match Way::of::<E>(isa, shape) {
        Way::Winograd => winograd::forward(isa, pool, shape, groups, input, weight, out),
        // The constant keeps what f32 has no use for from being compiled.
        Way::DirectPairs if E::BF16 => direct_forward::<E, bf16>(isa, pool, shape, groups, input, weight, out),
        _ => direct_forward::<E, f32>(isa, pool, shape, groups, input, weight, out),
    }
}

fn direct_forward<E: Element, S: Operand>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    weight: &[f32],
    out: &mut [E],
) -> Moments {
    let flat = shape.flattened(groups);
    let walk = Walk::<S>::forward(flat, groups, flat.batch / groups);
    let packed = walk.pack(isa, pool, weight, flat);
    let mut moments = vec![0.0; walk.blocks.len() * 3 * walk.padded_columns(isa)];
    walk.run(isa, input, &packed, out, Output::Moments(&mut moments));
    walk.moments(isa, groups, &moments)
}

/// Convolution of an evaluation pass: `out = relu?(conv(input) · scale + bias + residual?)`.
pub fn forward_finished<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    input: Source<'_, E>,
    weight: &[f32],
    finish: Finish<'_, E>,
    out: &mut [E],
) {
    let pad = |values: &[f32]| {
        let mut padded = pool.zeros(shape.c_out.next_multiple_of(panel_width(isa.lanes())));
        padded[..shape.c_out].copy_from_slice(values);
        padded
    };
    let (scale, bias) = (pad(finish.scale), pad(finish.bias));
    let finish = Finish { scale: &scale, bias: &bias, ..finish };
    assert!(finish.residual.is_none_or(|r| r.len() == out.len()));
    match Way::of::<E>(isa, shape) {
        Way::Winograd => winograd::forward_finished(isa, pool, shape, input, weight, finish, out),
        Way::DirectPairs if E::BF16 => direct_finished::<E, bf16>(isa, pool, shape, input, weight, finish, out),
        _ => direct_finished::<E, f32>(isa, pool, shape, input, weight, finish, out),
    }
}

fn direct_finished<E: Element, S: Operand>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    input: Source<'_, E>,
    weight: &[f32],
    finish: Finish<'_, E>,
    out: &mut [E],
) {
    let flat = shape.flattened(1);
    let walk = Walk::<S>::forward(flat, 1, flat.batch);
    let packed = walk.pack(isa, pool, weight, flat);
    walk.run(isa, input, &packed, out, Output::Finish(finish));
}

/// The gradient of the input from that of the output (N, H', W', c_out). With `add`, it is added to `out`.
pub fn backward_data<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    gradient: &[E],
    weight: &[f32],
    out: &mut [E],
    add: bool,
) {
    match Way::of::<E>(isa, shape) {
        Way::Winograd => winograd::backward_data(isa, pool, shape, gradient, weight, out, add),
        Way::DirectPairs if E::BF16 => direct_backward::<E, bf16>(isa, pool, shape, gradient, weight, out, add),
        _ => direct_backward::<E, f32>(isa, pool, shape, gradient, weight, out, add),
    }
}

fn direct_backward<E: Element, S: Operand>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    gradient: &[E],
    weight: &[f32],
    out: &mut [E],
    add: bool,
) {
    let flat = shape.flattened(1);
    let walk = Walk::<S>::backward(flat);
    let packed = walk.pack(isa, pool, weight, flat);
    walk.run(isa, Source::Plain(gradient), &packed, out, if add { Output::Add } else { Output::Write });
}

enum Output<'a, E> {
    Write,
    Add,
    Moments(&'a mut [f32]),
    Finish(Finish<'a, E>),
}

/// A part of a walk's output: some images, or some rows of one image.
#[derive(Clone, Copy, Debug)]
struct Block {
    image: usize,
    images: usize,
    row: usize,
    rows: usize,
}

/// The outputs at one offset within `spread` x `spread` pixels, which see the same taps. Forward has one phase;
/// backward through a convolution of stride 2 has four.
struct Phase {
    y: usize,
    x: usize,
    runs: Vec<Run>,
    /// The kernel's taps in the order of the runs.
    taps: Vec<(usize, usize)>,
    /// Length of each run.
    run: usize,
    /// Summed elements with those that fill up words, and those of the phases before.
    k: usize,
    k_before: usize,
}

/// A convolution whose products are of operands of type `S`.
struct Walk<S> {
    /// Rows, columns, channels of an input image; images of a group.
    input: (usize, usize, usize),
    images_per_group: usize,
    output: (usize, usize, usize),
    /// Output pixel (y, x) of a phase is pixel (y·spread + phase.y, x·spread + phase.x).
    spread: usize,
    grid: (usize, usize),
    /// Scratch pixels from one grid pixel to the next.
    step: usize,
    /// Input pixels from one scratch pixel to the next.
    gather: usize,
    /// Zeros before the first row and column.
    before: usize,
    /// Scratch rows and columns that one grid pixel sees.
    reach: usize,
    /// Distance between scratch pixels.
    pixel: usize,
    phases: Vec<Phase>,
    blocks: Vec<Block>,
    packing: Packing,
    operand: PhantomData<S>,
}

impl<S: Operand> Walk<S> {
    fn forward(shape: ConvShape, groups: usize, images_per_group: usize) -> Self {
        let ConvShape { kernel, stride, padding, c_in, .. } = shape;
        let pointwise = kernel == 1 && padding == 0;
        let pixel = S::pixel_distance(c_in);
        let columns = (shape.out_width() - 1) * if pointwise { 1 } else { stride } + kernel;
        let taps: Vec<_> = (0..kernel * kernel).map(|t| (t / kernel, t % kernel)).collect();
        let (run, runs): (_, Vec<_>) = if pixel == c_in {
            let run = kernel * c_in;
            (run, (0..kernel).map(|r| Run { offset: r * columns * pixel, len: run }).collect())
        } else {
            (c_in, taps.iter().map(|(r, s)| Run { offset: (r * columns + s) * pixel, len: c_in }).collect())
        };
        let k = runs.len() * S::whole_words(run);
        let mut walk = Self {
            input: (shape.height, shape.width, c_in),
            images_per_group,
            output: (shape.out_height(), shape.out_width(), shape.c_out),
            spread: 1,
            grid: (shape.out_height(), shape.out_width()),
            step: if pointwise { 1 } else { stride },
            gather: if pointwise { stride } else { 1 },
            before: padding,
            reach: kernel,
            pixel,
            phases: vec![Phase { y: 0, x: 0, runs, taps, run, k, k_before: 0 }],
            blocks: Vec::new(),
            packing: Packing::Forward,
            operand: PhantomData,
        };
        walk.cut(groups);
        walk
    }

    fn backward(shape: ConvShape) -> Self {
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
        let grid = (shape.height.div_ceil(stride), shape.width.div_ceil(stride));
        let columns = grid.1 - 1 + reach;
        let mut phases = Vec::new();
        let mut k_before = 0;
        for y in 0..stride {
            for x in 0..stride {
                let (mut runs, mut taps) = (Vec::new(), Vec::new());
                for i in 0..taps_of(y) {
                    for j in 0..taps_of(x) {
                        let (row, column) = (before + last(y) - i, before + last(x) - j);
                        runs.push(Run { offset: (row * columns + column) * pixel, len: c_out });
                        taps.push((first(y) + i * stride, first(x) + j * stride));
                    }
                }
                let k = taps.len() * S::whole_words(c_out);
                phases.push(Phase { y, x, runs, taps, run: c_out, k, k_before });
                k_before += k;
            }
        }
        let mut walk = Self {
            input: (shape.out_height(), shape.out_width(), c_out),
            images_per_group: shape.batch,
            output: (shape.height, shape.width, shape.c_in),
            spread: stride,
            grid,
            step: 1,
            gather: 1,
            before,
            reach,
            pixel,
            phases,
            blocks: Vec::new(),
            packing: Packing::Backward,
            operand: PhantomData,
        };
        walk.cut(1);
        walk
    }

    /// Cuts the output into blocks, none across groups.
    fn cut(&mut self, groups: usize) {
        let (rows, columns) = self.grid;
        let images = groups * self.images_per_group;
        let most = WINDOW / size_of::<S>();
        let row_len = self.columns() * self.step * self.pixel;
        let halo = (self.reach - self.step.min(self.reach)) * self.columns() * self.pixel;
        let share = (images * rows * columns).div_ceil(BLOCKS);
        let mut most_rows = (most.saturating_sub(halo) / row_len).max(1);
        if columns == 1 {
            // A column of pixels can be cut anywhere: at whole register tiles.
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
    fn columns(&self) -> usize {
        (self.grid.1 - 1) * self.step + self.reach
    }

    fn padded_columns(&self, isa: Isa) -> usize {
        self.output.2.next_multiple_of(panel_width(isa.lanes()))
    }

    /// The weights in panels of output columns, phase after phase.
    fn pack(&self, isa: Isa, pool: &Pool, weight: &[f32], shape: ConvShape) -> Buffer<S> {
        let lanes = isa.lanes();
        let columns = self.output.2;
        let padded = columns.next_multiple_of(lanes);
        let width = panel_width(lanes);
        let k_all: usize = self.phases.iter().map(|p| p.k).sum();
        assert_eq!(weight.len(), shape.weight_len());
        let mut packed = pool.take::<S>(padded * k_all);
        for phase in self.phases.iter().filter(|p| p.k > 0) {
            let part = &mut packed[padded * phase.k_before..][..padded * phase.k];
            part.par_chunks_mut(width * phase.k).enumerate().for_each(|(panel, out)| {
                let first = panel * width;
                let wide = width.min(padded - first);
                let panel = (first, wide.min(columns - first), wide);
                S::pack(self.packing, isa, weight, shape, &phase.taps, phase.run, panel, out);
            });
        }
        packed
    }

    fn run<E: Element>(&self, isa: Isa, input: Source<'_, E>, packed: &[S], out: &mut [E], mut output: Output<'_, E>) {
        let lanes = isa.lanes();
        let panels = self.output.2.div_ceil(panel_width(lanes));
        let padded = self.output.2.next_multiple_of(lanes);
        let stride = self.padded_columns(isa);
        // Where blocks are few, each is computed in parts of its columns.
        let splits = BLOCKS.div_ceil(self.blocks.len()).min(panels);
        let (height, width, channels) = self.output;
        let images: usize = self.blocks.last().map_or(0, |b| b.image + b.images);
        assert_eq!(out.len(), images * height * width * channels);
        assert_eq!(input.stored().len(), images * self.input.0 * self.input.1 * self.input.2);
        let c = Shared::new(out);
        let moments = match &mut output {
            Output::Moments(moments) => {
                assert_eq!(moments.len(), self.blocks.len() * 3 * stride);
                Some(Shared::new(moments))
            }
            _ => None,
        };
        let finish = match &output {
            Output::Finish(finish) => Some(*finish),
            _ => None,
        };
        let add = matches!(output, Output::Add);
        (0..self.blocks.len() * splits).into_par_iter().with_max_len(1).for_each(|task| {
            let (index, split) = (task / splits, task % splits);
            let block = self.blocks[index];
            let rows = (block.rows - 1) * self.step + self.reach;
            let columns = self.columns();
            let fill = Fill {
                source: input,
                image: self.input,
                first: block.image,
                group: block.image / self.images_per_group,
                images: block.images,
                top: (block.row * self.step * self.gather) as isize - self.before as isize,
                left: -(self.before as isize),
                gather: self.gather,
                rows,
                columns,
                channels: (0, self.input.2),
                pixel: self.pixel,
                clear: false,
                out: std::ptr::null_mut(),
            };
            with_scratch(fill.len(), |scratch: &mut [S]| {
                fill.to(isa, scratch);
                let mut points = Vec::with_capacity(block.images * block.rows * self.grid.1);
                for phase in &self.phases {
                    if phase.k == 0 && add {
                        continue;
                    }
                    points.clear();
                    for image in 0..block.images {
                        for y in 0..block.rows {
                            let out_y = (block.row + y) * self.spread + phase.y;
                            if out_y >= height {
                                continue;
                            }
                            for x in 0..self.grid.1 {
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
                    let store = match (finish, moments) {
                        (Some(finish), _) => Store::Finish {
                            scale: finish.scale.as_ptr(),
                            bias: finish.bias.as_ptr(),
                            residual: finish.residual.map_or(std::ptr::null(), <[E]>::as_ptr),
                            relu: finish.relu,
                        },
                        (None, Some(moments)) => {
                            // SAFETY: asserted above: every block has its three arrays.
                            Store::Moments { moments: unsafe { moments.get().add(index * 3 * stride) }, stride }
                        }
                        (None, None) if add => Store::Add,
                        (None, None) => Store::Write,
                    };
                    S::product(
                        isa,
                        Product {
                            a: scratch.as_ptr(),
                            points: &points,
                            runs: &phase.runs,
                            b: packed[padded * phase.k_before..].as_ptr(),
                            k: phase.k,
                            panels: panels * split / splits..panels * (split + 1) / splits,
                            columns: channels,
                            c: c.get(),
                            store,
                        },
                    );
                }
            });
        });
    }

    /// Joins the moments of the blocks, in their order.
    fn moments(&self, isa: Isa, groups: usize, blocks: &[f32]) -> Moments {
        let part = |block: &Block| (block.image / self.images_per_group, block.images * block.rows * self.grid.1);
        Moments::joined(groups, self.output.2, self.blocks.iter().map(part), blocks, self.padded_columns(isa))
    }
}
