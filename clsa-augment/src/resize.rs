//! `Image.resize(size, BILINEAR)` of a crop: two separable passes in 22-bit fixed point, rounded to bytes in between.

use macro_rules_attribute::apply;

use crate::planes::{Planes, Rows};
use crate::vectorized::vectorized;

const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

/// The taps of every output position along one axis. All positions have the same number, some of them 0, so that the
/// passes can be compiled for the usual numbers.
#[derive(Debug, Default)]
struct Weights {
    count: usize,
    /// First input position, by output position.
    first: Vec<usize>,
    /// `count` weights for each output position.
    taps: Vec<i32>,
    /// First input position and number of taps, by output position, before they were made the same number.
    bounds: Vec<(usize, usize)>,
    exact: Vec<f64>,
}

impl Weights {
    /// The triangle filter for an axis of `input` pixels made `output`; widened when shrinking.
    fn compute(&mut self, input: usize, output: usize) {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        let center = |position: usize| (position as f64 + 0.5) * scale;
        self.bounds.clear();
        self.bounds.extend((0..output).map(|position| {
            // `as usize` truncates and stops at 0.
            let first = (center(position) - support + 0.5) as usize;
            let end = ((center(position) + support + 0.5) as usize).min(input);
            (first, end - first)
        }));
        self.count = self.bounds.iter().map(|&(_, count)| count).max().unwrap_or(0);
        self.first.clear();
        self.taps.clear();
        self.taps.resize(output * self.count, 0);
        for (position, taps) in self.taps.chunks_exact_mut(self.count).enumerate() {
            let (first, count) = self.bounds[position];
            self.exact.clear();
            self.exact.extend((first..first + count).map(|place| {
                let distance = ((place as f64 - center(position) + 0.5) * inverse).abs();
                if distance < 1.0 { 1.0 - distance } else { 0.0 }
            }));
            let sum: f64 = self.exact.iter().sum();
            // Where the taps would run over the end of the axis, they begin earlier, with zeros.
            let start = first.min(input - self.count);
            for (tap, &exact) in taps[first - start..].iter_mut().zip(&self.exact) {
                let weight = if sum == 0.0 { exact } else { exact / sum };
                *tap = (0.5 + weight * f64::from(1 << PRECISION)) as i32;
            }
            self.first.push(start);
        }
    }
}

/// Storage of the resampling, kept between images.
#[derive(Debug, Default)]
pub(crate) struct ResizeScratch {
    horizontal: Weights,
    vertical: Weights,
    first: Vec<u8>,
    second: Vec<u8>,
    line: Vec<u8>,
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes `source`, the crop of an image, to `width` × `height`. Source and result must have at least one pixel.
pub(crate) fn resize(source: Rows<'_>, width: usize, height: usize, scratch: &mut ResizeScratch, out: &mut Planes) {
    let (crop_width, crop_height) = (source.width, source.height);
    let ResizeScratch { horizontal, vertical, first, second, line } = scratch;
    let (wider, higher) = (crop_width != width, crop_height != height);
    if wider {
        horizontal.compute(crop_width, width);
    }
    if higher {
        vertical.compute(crop_height, height);
    }
    // Pillow (from 13.0) takes the columns first where the height shrinks much more than the width.
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let lost_height = lost(crop_height, height);
    let columns_first = lost_height > 0 && lost_height > lost(crop_width, width) * 2;
    match (wider, higher) {
        (false, false) => out.read(source),
        (true, false) => {
            along_rows(&source, horizontal, line, first);
            out.read(Rows::whole(first, width, height));
        }
        (false, true) => {
            along_columns(&source, vertical, first);
            out.read(Rows::whole(first, width, height));
        }
        (true, true) if columns_first => {
            along_columns(&source, vertical, first);
            along_rows(&Rows::whole(first, crop_width, height), horizontal, line, second);
            out.read(Rows::whole(second, width, height));
        }
        (true, true) => {
            along_rows(&source, horizontal, line, first);
            along_columns(&Rows::whole(first, width, crop_height), vertical, second);
            out.read(Rows::whole(second, width, height));
        }
    }
}

/// Calls a function that is compiled for a fixed number of taps; `0` stands for any.
macro_rules! by_count {
    ($count:expr, $function:ident($($argument:expr),*)) => {
        match $count {
            1 => $function::<1>($($argument),*),
            2 => $function::<2>($($argument),*),
            3 => $function::<3>($($argument),*),
            4 => $function::<4>($($argument),*),
            5 => $function::<5>($($argument),*),
            6 => $function::<6>($($argument),*),
            _ => $function::<0>($($argument),*),
        }
    };
}

/// Resamples along x.
#[apply(vectorized)]
fn along_rows(source: &Rows, weights: &Weights, line: &mut Vec<u8>, out: &mut Vec<u8>) {
    let width = weights.first.len();
    // A pixel is written as four bytes, of which the next pixel overwrites the last.
    out.resize(3 * width * source.height + 1, 0);
    for y in 0..source.height {
        let target = &mut out[3 * width * y..][..3 * width + 1];
        match source.row_and_one(y) {
            Some(row) => by_count!(weights.count, resample_row(row, weights, target)),
            None => {
                line.clear();
                line.extend_from_slice(source.row(y));
                line.push(0);
                by_count!(weights.count, resample_row(line, weights, target));
            }
        }
    }
}

/// `row` and `target` are interleaved pixels and one byte more, so that each pixel can be taken as four bytes.
#[inline(always)]
fn resample_row<const COUNT: usize>(row: &[u8], weights: &Weights, target: &mut [u8]) {
    let count = if COUNT == 0 { weights.count } else { COUNT };
    for ((x, &first), taps) in weights.first.iter().enumerate().zip(weights.taps.chunks_exact(count)) {
        let pixels = &row[3 * first..][..3 * count + 1];
        let mut sums = [HALF; 4];
        for (tap, &weight) in taps.iter().enumerate() {
            let pixel = &pixels[3 * tap..][..4];
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        target[3 * x..][..4].copy_from_slice(&sums.map(clip));
    }
}

/// Resamples along y.
#[apply(vectorized)]
fn along_columns(source: &Rows, weights: &Weights, out: &mut Vec<u8>) {
    let stride = 3 * source.width;
    let height = weights.first.len();
    out.resize(stride * height + 1, 0);
    for ((y, &first), taps) in weights.first.iter().enumerate().zip(weights.taps.chunks_exact(weights.count)) {
        let target = &mut out[stride * y..][..stride];
        by_count!(weights.count, resample_column(source, first, taps, target));
    }
}

#[inline(always)]
fn resample_column<const COUNT: usize>(source: &Rows, first: usize, taps: &[i32], target: &mut [u8]) {
    let n = target.len();
    if COUNT > 0 {
        let rows: [&[u8]; COUNT] = std::array::from_fn(|tap| &source.row(first + tap)[..n]);
        let taps: [i32; COUNT] = std::array::from_fn(|tap| taps[tap]);
        for (x, value) in target.iter_mut().enumerate() {
            let mut sum = HALF;
            for tap in 0..COUNT {
                sum += i32::from(rows[tap][x]) * taps[tap];
            }
            *value = clip(sum);
        }
        return;
    }
    // Many taps: a stretch of sums at a time, which stays in registers or the first-level cache.
    const STRETCH: usize = 256;
    for (part, target) in target.chunks_mut(STRETCH).enumerate() {
        let mut sums = [HALF; STRETCH];
        for (tap, &weight) in taps.iter().enumerate() {
            for (sum, &value) in sums.iter_mut().zip(&source.row(first + tap)[part * STRETCH..]) {
                *sum += i32::from(value) * weight;
            }
        }
        for (value, &sum) in target.iter_mut().zip(&sums) {
            *value = clip(sum);
        }
    }
}
