//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015): 36 multiplications for
//! 16 outputs where the direct sum takes 144. Every 6x6 window of the input and every kernel is transformed, the
//! convolution is then one product for each of the 36 places, and the results are transformed back.

use super::element::{Element, part, write};
use super::memory::{Buffer, Pool, Shared, with_scratch};
use super::micro::{Point, Product, Run, Store, panel_width};
use super::moments::Moments;
use super::operand::Operand;
use super::packing::Packing;
use super::shape::ConvShape;
use super::simd::{Isa, Kernel, Simd, dispatch};
use super::source::Source;
use rayon::prelude::*;

/// Outputs along the side of a tile, and inputs that they see.
pub(super) const TILE: usize = 4;
pub(super) const SEEN: usize = TILE + 2;
/// Places of a transformed tile.
pub(super) const PLACES: usize = SEEN * SEEN;
/// Blocks or parts of blocks that are computed at least; a constant, as results must not depend on the threads.
const BLOCKS: usize = 8;

/// Whether this way is the faster one for a convolution.
pub(super) fn applies(shape: ConvShape) -> bool {
    let ConvShape { kernel, stride, padding, c_in, c_out, .. } = shape;
    if (kernel, stride, padding) != (3, 1, 1) || c_in < 16 || c_out < 16 {
        return false;
    }
    let tiles = shape.batch * shape.height.div_ceil(TILE) * shape.width.div_ceil(TILE);
    let pixels = shape.batch * shape.height * shape.width;
    // Rows of products, with the transformed kernels' cost in rows.
    PLACES * (tiles + tiles / 4 + 12) < 9 * pixels
}

/// The tiles of a batch, those of an image row by row.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub height: usize,
    pub width: usize,
    rows: usize,
    columns: usize,
    pub images: usize,
}

impl Tiling {
    pub fn new(shape: ConvShape) -> Self {
        let (height, width) = (shape.height, shape.width);
        let (rows, columns) = (height.div_ceil(TILE), width.div_ceil(TILE));
        Self { height, width, rows, columns, images: shape.batch }
    }

    pub fn per_image(&self) -> usize {
        self.rows * self.columns
    }

    /// Image, first row and first column of a tile.
    #[inline(always)]
    pub fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (image, inside) = (tile / self.per_image(), tile % self.per_image());
        (image, inside / self.columns * TILE, inside % self.columns * TILE)
    }

    /// Ranges of at most `most` tiles, none across groups of images.
    pub fn blocks(&self, groups: usize, most: usize) -> Vec<(usize, usize)> {
        let tiles = self.images / groups * self.per_image();
        let parts = tiles.div_ceil(most);
        let of = |group: usize, part: usize| group * tiles + tiles * part / parts;
        (0..groups).flat_map(|g| (0..parts).map(move |p| (of(g, p), of(g, p + 1)))).collect()
    }
}

/// Forward, as `conv::forward`.
pub(super) fn forward<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    groups: usize,
    input: Source<'_, E>,
    weight: &[f32],
    out: &mut [E],
) -> Moments {
    let tiling = Tiling::new(shape);
    let images_per_group = shape.batch / groups;
    let packed = transform_kernels(isa, pool, weight, shape, Packing::Forward);
    let stride = shape.c_out.next_multiple_of(panel_width(isa.lanes()));
    let blocks = tiling.blocks(groups, block_tiles(shape));
    let mut moments = vec![0.0; blocks.len() * 3 * stride];
    let channels = (shape.c_in, shape.c_out);
    let output = Finished::Moments(Shared::new(&mut moments), stride);
    run(isa, tiling, &blocks, images_per_group, channels, input, &packed, out, output);
    let part = |&(start, end): &(usize, usize)| {
        let count = (start..end).map(|t| tiling.outputs(t)).sum();
        (start / tiling.per_image() / images_per_group, count)
    };
    Moments::joined(groups, shape.c_out, blocks.iter().map(part), &moments, stride)
}

/// Forward in evaluation mode, as `conv::forward_finished`; scale and bias are padded to whole panels.
pub(super) fn forward_finished<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    input: Source<'_, E>,
    weight: &[f32],
    finish: super::conv::Finish<'_, E>,
    out: &mut [E],
) {
    let tiling = Tiling::new(shape);
    let packed = transform_kernels(isa, pool, weight, shape, Packing::Forward);
    let blocks = tiling.blocks(1, block_tiles(shape));
    let output = Finished::Finish(finish);
    run(isa, tiling, &blocks, shape.batch, (shape.c_in, shape.c_out), input, &packed, out, output);
}

/// The gradient of the input, as `conv::backward_data`: a convolution with the kernels turned by 180 degrees.
pub(super) fn backward_data<E: Element>(
    isa: Isa,
    pool: &Pool,
    shape: ConvShape,
    gradient: &[E],
    weight: &[f32],
    out: &mut [E],
    add: bool,
) {
    let tiling = Tiling::new(shape);
    let packed = transform_kernels(isa, pool, weight, shape, Packing::Backward);
    let turned = ConvShape { c_in: shape.c_out, c_out: shape.c_in, ..shape };
    let blocks = tiling.blocks(1, block_tiles(turned));
    let output = if add { Finished::Add } else { Finished::Write };
    let channels = (shape.c_out, shape.c_in);
    run(isa, tiling, &blocks, shape.batch, channels, Source::Plain(gradient), &packed, out, output);
}

/// Tiles of a block: what is transformed at a time should stay in the second-level cache, but every block reads all
/// the kernels.
fn block_tiles(shape: ConvShape) -> usize {
    if shape.c_in + shape.c_out <= 128 { 42 } else { 28 }
}

/// The kernels in place after place, each in panels of output columns as [`Product`] takes them.
fn transform_kernels(isa: Isa, pool: &Pool, weight: &[f32], shape: ConvShape, packing: Packing) -> Buffer<f32> {
    let (rows, columns) = match packing {
        Packing::Forward => (shape.c_in, shape.c_out),
        Packing::Backward => (shape.c_out, shape.c_in),
    };
    let lanes = isa.lanes();
    let (padded, width) = (columns.next_multiple_of(lanes), panel_width(lanes));
    let taps: Vec<_> = match packing {
        Packing::Forward => (0..9).map(|t| (t / 3, t % 3)).collect(),
        Packing::Backward => (0..9).map(|t| (2 - t / 3, 2 - t % 3)).collect(),
    };
    let mut packed = pool.take::<f32>(PLACES * padded * rows);
    let to = Shared::new(&mut packed);
    // Rows are cut too, so that a panel's nine taps stay in the first cache levels.
    const ROWS: usize = 64;
    let row_parts = rows.div_ceil(ROWS);
    (0..columns.div_ceil(width) * row_parts).into_par_iter().for_each(|task| {
        let (panel, row) = (task / row_parts, task % row_parts * ROWS);
        let n = ROWS.min(rows - row);
        let first = panel * width;
        let wide = width.min(padded - first);
        with_scratch(9 * n * wide, |direct: &mut [f32]| {
            packing.pack(isa, weight, shape, &taps, (row, n), (first, wide.min(columns - first), wide), direct);
            let kernel = TransformKernels {
                direct: direct.as_ptr(),
                tap: n * wide,
                len: n * wide,
                // SAFETY: inside `packed`: place 0, this panel, this row.
                to: unsafe { to.get().add(first * rows + row * wide) },
                place: padded * rows,
            };
            dispatch(isa, kernel);
        });
    });
    packed
}

/// `G w Gᵀ` for a panel of kernels.
struct TransformKernels {
    direct: *const f32,
    tap: usize,
    len: usize,
    to: *mut f32,
    place: usize,
}

impl Kernel for TransformKernels {
    #[inline(always)]
    fn run<V: Simd>(self) {
        for i in (0..self.len).step_by(V::LANES) {
            // SAFETY: panels are whole vectors wide; `transform_kernels` gives the places.
            unsafe {
                let mut half = [[V::zero(); 3]; SEEN];
                for s in 0..3 {
                    let w = |r: usize| V::load(self.direct.add((r * 3 + s) * self.tap + i));
                    let column = kernel_transform(w(0), w(1), w(2));
                    for r in 0..SEEN {
                        half[r][s] = column[r];
                    }
                }
                for r in 0..SEEN {
                    let row = kernel_transform(half[r][0], half[r][1], half[r][2]);
                    for s in 0..SEEN {
                        row[s].store(self.to.add((r * SEEN + s) * self.place + i));
                    }
                }
            }
        }
    }
}

/// `G w` for three taps.
#[inline(always)]
unsafe fn kernel_transform<V: Simd>(w0: V, w1: V, w2: V) -> [V; SEEN] {
    // SAFETY: the caller's CPU has the instruction set.
    unsafe {
        let outer = w0.add(w2).mul(V::splat(-1.0 / 6.0));
        let inner = w1.mul(V::splat(-1.0 / 6.0));
        let far = w0.mul(V::splat(1.0 / 24.0)).add(w2.mul(V::splat(1.0 / 6.0)));
        let near = w1.mul(V::splat(1.0 / 12.0));
        [w0.mul(V::splat(0.25)), outer.add(inner), outer.sub(inner), far.add(near), far.sub(near), w2]
    }
}

#[derive(Clone, Copy)]
enum Finished<'a, E> {
    Write,
    Add,
    /// Per block `pivot`, sum and sum of squares, each of so many elements.
    Moments(Shared<f32>, usize),
    Finish(super::conv::Finish<'a, E>),
}

fn run<E: Element>(
    isa: Isa,
    tiling: Tiling,
    blocks: &[(usize, usize)],
    images_per_group: usize,
    (c_in, c_out): (usize, usize),
    input: Source<'_, E>,
    packed: &[f32],
    out: &mut [E],
    output: Finished<'_, E>,
) {
    let pixels = tiling.images * tiling.height * tiling.width;
    assert_eq!(input.stored().len(), pixels * c_in);
    assert_eq!(out.len(), pixels * c_out);
    let lanes = isa.lanes();
    let (padded, width) = (c_out.next_multiple_of(lanes), panel_width(lanes));
    let panels = c_out.div_ceil(width);
    let splits = BLOCKS.div_ceil(blocks.len()).min(panels);
    let pixel = f32::pixel_distance(c_in.next_multiple_of(lanes));
    let to = Shared::new(out);
    (0..blocks.len() * splits).into_par_iter().with_max_len(1).for_each(|task| {
        let (index, split) = (task / splits, task % splits);
        let (start, end) = blocks[index];
        let tiles = end - start;
        let own = panels * split / splits..panels * (split + 1) / splits;
        let (first, last) = (own.start * width, (own.end * width).min(padded));
        let product_pixel = f32::pixel_distance(last - first);
        let seen_len = PLACES * tiles * pixel;
        with_scratch(seen_len + PLACES * tiles * product_pixel, |scratch: &mut [f32]| {
            let (seen, products) = scratch.split_at_mut(seen_len);
            let group = start / tiling.per_image() / images_per_group;
            InputTiles { tiling, source: input, group, channels: c_in, range: (0, c_in), tiles: (start, end), pixel }
                .to(isa, seen);
            let points: Vec<Point> = (0..tiles).map(|t| Point { a: t * pixel, c: t * product_pixel }).collect();
            for place in 0..PLACES {
                dispatch(
                    isa,
                    Product {
                        a: seen[place * tiles * pixel..].as_ptr(),
                        points: &points,
                        runs: &[Run { offset: 0, len: c_in }],
                        b: packed[place * padded * c_in + first * c_in..].as_ptr(),
                        k: c_in,
                        panels: 0..own.len(),
                        columns: last - first,
                        c: products[place * tiles * product_pixel..].as_mut_ptr(),
                        store: Store::Write,
                    },
                );
            }
            let output = match output {
                Finished::Moments(all, stride) => {
                    // SAFETY: every block has its three arrays of `stride`.
                    Finished::Moments(unsafe { all.offset(index * 3 * stride) }, stride)
                }
                other => other,
            };
            let tiles = (start, end);
            let products = products.as_ptr();
            let range = (first, last.min(c_out));
            dispatch(
                isa,
                OutputTiles { tiling, tiles, channels: c_out, range, products, pixel: product_pixel, to, output },
            );
        });
    });
}

/// `Bᵀ d B` of the 6x6 windows that tiles see, for some channels: `out` is (place, tile, channel), with `pixel` elements
/// from tile to tile, zero between the channels and the next whole vector.
pub(super) struct InputTiles<'a, E> {
    pub tiling: Tiling,
    pub source: Source<'a, E>,
    pub group: usize,
    pub channels: usize,
    pub range: (usize, usize),
    pub tiles: (usize, usize),
    pub pixel: usize,
}

impl<E: Element> InputTiles<'_, E> {
    pub fn to(self, isa: Isa, out: &mut [f32]) {
        assert!(out.len() >= PLACES * (self.tiles.1 - self.tiles.0) * self.pixel);
        assert!(
            (self.range.1 - self.range.0).next_multiple_of(isa.lanes()) <= self.pixel && self.range.1 <= self.channels
        );
        dispatch(isa, InputTilesTo { input: self, out: out.as_mut_ptr() });
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
        let norm = match source {
            Source::Plain(_) => None,
            Source::Norm { scale, shift, relu, .. } => {
                let own = |v: &[f32]| v[group * channels..][..channels].as_ptr();
                Some((own(scale), own(shift), relu))
            }
        };
        let place = (tiles.1 - tiles.0) * pixel;
        for tile in tiles.0..tiles.1 {
            let (image, y0, x0) = tiling.place(tile);
            let mut from = [std::ptr::null::<E>(); PLACES];
            for (i, from) in from.iter_mut().enumerate() {
                // Windows start one row and one column before their tile.
                let (y, x) = (y0 + i / SEEN, x0 + i % SEEN);
                if (1..=tiling.height).contains(&y) && (1..=tiling.width).contains(&x) {
                    let at = ((image * tiling.height + y - 1) * tiling.width + x - 1) * channels;
                    *from = stored.wrapping_add(at);
                }
            }
            for c in (range.0..range.1).step_by(V::LANES) {
                let lanes = range.1 - c;
                // SAFETY: pointers that are not null are pixels of the input, with `channels` elements; `to` has
                // checked the output.
                unsafe {
                    let (mut scale, mut shift, mut relu) = (V::zero(), V::zero(), false);
                    if let Some(norm) = norm {
                        (scale, shift, relu) = (part(norm.0.add(c), lanes), part(norm.1.add(c), lanes), norm.2);
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
                    let out = self.out.add((tile - tiles.0) * pixel + c - range.0);
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

/// `Aᵀ m A` of tiles of products (place, tile, channel), and what is done with the outputs.
struct OutputTiles<'a, E> {
    tiling: Tiling,
    tiles: (usize, usize),
    channels: usize,
    range: (usize, usize),
    products: *const f32,
    pixel: usize,
    to: Shared<E>,
    output: Finished<'a, E>,
}

impl<E: Element> Kernel for OutputTiles<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let Self { tiling, tiles, channels, range, pixel, .. } = self;
        let place = (tiles.1 - tiles.0) * pixel;
        for tile in tiles.0..tiles.1 {
            let (image, y0, x0) = tiling.place(tile);
            let (rows, columns) = (TILE.min(tiling.height - y0), TILE.min(tiling.width - x0));
            for c in (range.0..range.1).step_by(V::LANES) {
                let lanes = range.1 - c;
                // SAFETY: `run` gives products of whole vectors for all channels of the range, and outputs that no
                // other task has.
                unsafe {
                    let from = self.products.add((tile - tiles.0) * pixel + c - range.0);
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
                    let first = ((image * tiling.height + y0) * tiling.width + x0) * channels + c;
                    let offset = |y: usize, x: usize| first + (y * tiling.width + x) * channels;
                    match self.output {
                        Finished::Write => {}
                        Finished::Add => {
                            for y in 0..rows {
                                for x in 0..columns {
                                    let old = part(self.to.get().add(offset(y, x)), lanes);
                                    out[y][x] = out[y][x].add(old);
                                }
                            }
                        }
                        Finished::Finish(finish) => {
                            let (scale, bias): (V, V) =
                                (part(finish.scale.as_ptr().add(c), lanes), part(finish.bias.as_ptr().add(c), lanes));
                            for y in 0..rows {
                                for x in 0..columns {
                                    let mut v = out[y][x].mul_add(scale, bias);
                                    if let Some(residual) = finish.residual {
                                        v = v.add(part(residual.as_ptr().add(offset(y, x)), lanes));
                                    }
                                    out[y][x] = if finish.relu { V::zero().max(v) } else { v };
                                }
                            }
                        }
                        Finished::Moments(moments, stride) => {
                            let pivot = moments.get().add(c);
                            let (sum, squares) = (pivot.add(stride), pivot.add(2 * stride));
                            for y in 0..rows {
                                for x in 0..columns {
                                    out[y][x] = E::round(out[y][x]);
                                }
                            }
                            if tile == tiles.0 {
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

impl Tiling {
    /// Outputs of a tile that are inside the image.
    fn outputs(&self, tile: usize) -> usize {
        let (_, y, x) = self.place(tile);
        TILE.min(self.height - y) * TILE.min(self.width - x)
    }
}
