//! The gradient of a convolution's weight: for every tap, a sum over the output's pixels of outer products.
//!
//! Tasks own parts of the result (blocks of input channels times blocks of output channels), and where the result is
//! small also a part of the pixels; parts of pixels are added up in their order.

use super::conv::Way;
use super::element::Element;
use super::memory::{Pool, Shared, with_scratch};
use super::micro::{Grid, OuterProduct, Tap};
use super::operand::Operand;
use super::packing::AddTransposed;
use super::shape::ConvShape;
use super::simd::{Isa, dispatch};
use super::source::{Fill, Source};
use super::winograd_gradient;
use half::bf16;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Tasks that a product is cut into at least, where the shape allows.
pub(super) const TASKS: usize = 8;
/// Elements of all parts of a result, where it is not itself larger.
const PARTIAL: usize = 1 << 20;
/// Pixels of a chunk, over which sums stay in registers.
const PIXELS: usize = 192;

/// Adds the weight's gradient to `out` (c_out, c_in, kernel, kernel), from the convolution's input (of `groups` groups
/// of images, where it is normalised while it is read) and its output's gradient (N, H', W', c_out).
pub fn backward_weight<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    gradient: &[E],
    out: &mut [f32],
) {
    assert_eq!(out.len(), shape.weight_len());
    assert_eq!(input.stored().len(), shape.input_len());
    assert_eq!(gradient.len(), shape.output_len());
    match Way::of::<E>(isa, shape) {
        Way::Winograd => winograd_gradient::backward_weight(isa, pool, shape, groups, input, gradient, out),
        Way::DirectPairs if E::BF16 => direct::<E, bf16>(isa, pool, shape, groups, input, gradient, out),
        _ => direct::<E, f32>(isa, pool, shape, groups, input, gradient, out),
    }
}

fn direct<E: Element, S: Operand>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    gradient: &[E],
    out: &mut [f32],
) {
    let images_per_group = shape.batch / groups;
    let flat = shape.flattened(groups);
    let images_per_group = if flat == shape { images_per_group } else { 1 };
    let ConvShape { c_in, c_out, kernel, .. } = flat;
    let (rows, columns) = (flat.out_height(), flat.out_width());
    let padded = c_out.next_multiple_of(isa.lanes());

    // Chunks of pixels: some images of a group, or some rows of an image. As many are multiplied at a time as a word has
    // elements; they should be alike.
    let mut chunks = Vec::new();
    let most_rows = (PIXELS / columns).max(1);
    if most_rows < rows {
        let parts = rows.div_ceil(most_rows).next_multiple_of(S::PER_WORD).min(rows);
        for image in 0..flat.batch {
            chunks.extend((0..parts).map(|p| (image, 1, rows * p / parts, rows * (p + 1) / parts)));
        }
    } else {
        let most = (PIXELS / (rows * columns)).max(1);
        let parts = images_per_group.div_ceil(most).next_multiple_of(S::PER_WORD).min(images_per_group);
        for group in 0..flat.batch / images_per_group {
            let first = |p: usize| group * images_per_group + images_per_group * p / parts;
            chunks.extend((0..parts).map(|p| (first(p), first(p + 1) - first(p), 0, rows)));
        }
    }
    let chunks: Vec<&[Chunk]> = chunks.chunks(S::PER_WORD).collect();

    // Parts of the pixels share no reading, blocks of channels do; but parts multiply the result's memory.
    let mut in_block = if kernel == 1 { 256 } else { 128 }.min(c_in);
    let mut out_block = 256.min(padded);
    let blocks = |i: usize, o: usize| c_in.div_ceil(i) * padded.div_ceil(o);
    let parts_of = |blocks: usize| TASKS.div_ceil(blocks).min(chunks.len());
    let fits = |blocks: usize| parts_of(blocks) * kernel * kernel * c_in * padded <= PARTIAL;
    while blocks(in_block, out_block) < TASKS && in_block > 64 && !fits(blocks(in_block, out_block)) {
        in_block = (in_block / 2).next_multiple_of(16);
    }
    while blocks(in_block, out_block) < TASKS && out_block > 128 && !fits(blocks(in_block, out_block)) {
        out_block = (out_block / 2).next_multiple_of(16);
    }
    let (in_blocks, out_blocks) = (c_in.div_ceil(in_block), padded.div_ceil(out_block));
    let parts = parts_of(in_blocks * out_blocks);

    // Each block is whole in memory, one after the other, part after part.
    let (taps, part_len) = (kernel * kernel, kernel * kernel * c_in * padded);
    let mut partial = pool.take::<f32>(parts * part_len);
    let result = Shared::new(&mut partial);
    let out = Shared::new(out);
    let ranges = |block: usize| {
        let (i0, o0) = (block / out_blocks * in_block, block % out_blocks * out_block);
        ((i0, (i0 + in_block).min(c_in)), (o0, (o0 + out_block).min(padded)))
    };
    let add = |block: usize| {
        let ((i0, i1), (o0, o1)) = ranges(block);
        let kernel = AddTransposed {
            // SAFETY: inside `partial`, all of which has been computed for this block.
            partial: unsafe { result.get().add(taps * (i0 * padded + (i1 - i0) * o0)) },
            parts,
            part: part_len,
            stride: o1 - o0,
            taps,
            channels: i1 - i0,
            columns: o1.min(c_out) - o0,
            row_len: taps * c_in,
            // SAFETY: inside the gradient; no other block has these channels.
            out: unsafe { out.get().add((o0 * c_in + i0) * taps) },
        };
        dispatch(isa, kernel);
    };
    (0..parts * in_blocks * out_blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (part, block) = (task / (in_blocks * out_blocks), task % (in_blocks * out_blocks));
        let ((i0, i1), (o0, o1)) = ranges(block);
        // SAFETY: inside `partial`; no other task has this part and this block.
        let c = unsafe { result.get().add(part * part_len + taps * (i0 * padded + (i1 - i0) * o0)) };
        let owned = &chunks[chunks.len() * part / parts..chunks.len() * (part + 1) / parts];
        let owner = Owner::<E, S> { isa, shape: flat, images_per_group, input, gradient, operand: PhantomData };
        owner.run(owned, (i0, i1), (o0, o1), c);
        if parts == 1 {
            add(block);
        }
    });
    if parts > 1 {
        (0..in_blocks * out_blocks).into_par_iter().for_each(add);
    }
}

/// (first image, images, first output row, end of output rows).
type Chunk = (usize, usize, usize, usize);

/// What the tasks of one product share.
struct Owner<'a, E, S> {
    isa: Isa,
    shape: ConvShape,
    images_per_group: usize,
    input: Source<'a, E>,
    gradient: &'a [E],
    operand: PhantomData<S>,
}

impl<E: Element, S: Operand> Owner<'_, E, S> {
    /// Sums over the chunks, those of a word at a time, into the block of input channels `i0..i1` and output channels `o0..o1` at `c`.
    fn run(&self, chunks: &[&[Chunk]], (i0, i1): (usize, usize), (o0, o1): (usize, usize), c: *mut f32) {
        let ConvShape { height, width, c_in, c_out, kernel, stride, padding, .. } = self.shape;
        let pointwise = kernel == 1 && padding == 0;
        let (gather, step) = if pointwise { (stride, 1) } else { (1, stride) };
        let (out_rows, out_columns) = (self.shape.out_height(), self.shape.out_width());
        let channels = i1 - i0;
        let pixel = S::word_distance(channels);
        let out_pixel = S::word_distance(o1 - o0);
        let columns = (out_columns - 1) * step + kernel;
        let taps: Vec<Tap> = if channels == c_in && pixel == c_in {
            (0..kernel).map(|r| Tap { a: r * columns * pixel, len: kernel * c_in, c: r * kernel * channels }).collect()
        } else {
            let all = (0..kernel * kernel).map(|t| (t, t / kernel, t % kernel));
            all.map(|(t, r, s)| Tap { a: (r * columns + s) * pixel, len: channels, c: t * channels }).collect()
        };
        for (index, chunks) in chunks.iter().enumerate() {
            let seen = |&(image, images, row0, row1): &Chunk| Fill {
                source: self.input,
                image: (height, width, c_in),
                first: image,
                group: image / self.images_per_group,
                images,
                top: (row0 * step * gather) as isize - padding as isize,
                left: -(padding as isize),
                gather,
                rows: (row1 - row0 - 1) * step + kernel,
                columns,
                channels: (i0, i1),
                pixel,
                clear: false,
                out: std::ptr::null_mut(),
            };
            let given = |&(image, images, row0, row1): &Chunk| Fill {
                source: Source::Plain(self.gradient),
                image: (out_rows, out_columns, c_out),
                first: image,
                group: 0,
                images,
                top: row0 as isize,
                left: 0,
                gather: 1,
                rows: row1 - row0,
                columns: out_columns,
                channels: (o0, o1.min(c_out)),
                pixel: out_pixel,
                clear: o1 > c_out,
                out: std::ptr::null_mut(),
            };
            let images = chunks.iter().map(|c| c.1).max().unwrap_or(0);
            let chunk_rows = chunks.iter().map(|c| c.3 - c.2).max().unwrap_or(0);
            let rows = (chunk_rows - 1) * step + kernel;
            let seen_len = (images * rows * columns * pixel * S::PER_WORD).next_multiple_of(32);
            let given_len = images * chunk_rows * out_columns * out_pixel * S::PER_WORD;
            with_scratch(seen_len + given_len, |scratch: &mut [S]| {
                let (a, b) = scratch.split_at_mut(seen_len);
                S::fill(self.isa, &chunks.iter().map(seen).collect::<Vec<_>>(), a);
                S::fill(self.isa, &chunks.iter().map(given).collect::<Vec<_>>(), b);
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
                S::outer_product(
                    self.isa,
                    OuterProduct {
                        a,
                        b,
                        images,
                        rows: grid_rows,
                        columns: grid_columns,
                        taps: &taps,
                        width: o1 - o0,
                        stride: o1 - o0,
                        c,
                        first: index == 0,
                    },
                );
            });
        }
    }
}
