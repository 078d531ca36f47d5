//! Max pooling (3x3, stride 2, padding 1) and global average pooling, channels last.

use super::simd::{Isa, Kernel, Simd, dispatch};
use super::source::Source;
use rayon::prelude::*;

const KERNEL: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// Side of an image after max pooling.
pub fn max_pool_side(side: usize) -> usize {
    (side + 2 * PADDING - KERNEL) / STRIDE + 1
}

/// Max pooling of (batch, height, width, channels) to `out`; `taps` receives which of a window's nine places was taken:
/// the first of the highest, as in PyTorch.
pub fn max_pool(
    isa: Isa,
    (batch, height, width, channels): (usize, usize, usize, usize),
    groups: usize,
    input: Source<'_>,
    out: &mut [f32],
    taps: &mut [u8],
) {
    let (rows, columns) = (max_pool_side(height), max_pool_side(width));
    assert_eq!(input.stored().len(), batch * height * width * channels);
    assert!(out.len() == batch * rows * columns * channels && taps.len() == out.len());
    let row_len = columns * channels;
    out.par_chunks_mut(row_len).zip(taps.par_chunks_mut(row_len)).enumerate().for_each(|(row, (out, taps))| {
        let (image, y) = (row / rows, row % rows);
        let group = image / (batch / groups);
        dispatch(isa, MaxPoolRow { size: (height, width, channels), input, image, group, y, out, taps });
    });
}

struct MaxPoolRow<'a> {
    size: (usize, usize, usize),
    input: Source<'a>,
    image: usize,
    group: usize,
    y: usize,
    out: &'a mut [f32],
    taps: &'a mut [u8],
}

impl Kernel for MaxPoolRow<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        let (height, width, channels) = self.size;
        let stored = self.input.stored();
        let affine = match self.input {
            Source::Plain(_) => None,
            Source::Norm { scale, shift, relu, .. } => {
                let own = self.group * channels..(self.group + 1) * channels;
                Some((&scale[own.clone()], &shift[own], if relu { 0.0 } else { f32::NEG_INFINITY }))
            }
        };
        for (x, (out, taps)) in
            self.out.chunks_exact_mut(channels).zip(self.taps.chunks_exact_mut(channels)).enumerate()
        {
            out.fill(f32::NEG_INFINITY);
            for tap in 0..KERNEL * KERNEL {
                let (iy, ix) = (self.y * STRIDE + tap / KERNEL, x * STRIDE + tap % KERNEL);
                if iy < PADDING || ix < PADDING || iy - PADDING >= height || ix - PADDING >= width {
                    continue;
                }
                let at = ((self.image * height + iy - PADDING) * width + ix - PADDING) * channels;
                let values = &stored[at..at + channels];
                match affine {
                    None => {
                        for ((out, chosen), &v) in out.iter_mut().zip(taps.iter_mut()).zip(values) {
                            take(v, tap as u8, out, chosen);
                        }
                    }
                    Some((scale, shift, least)) => {
                        let affine = scale.iter().zip(shift);
                        for (((out, chosen), &z), (s, t)) in out.iter_mut().zip(taps.iter_mut()).zip(values).zip(affine)
                        {
                            take((z * s + t).max(least), tap as u8, out, chosen);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn take(value: f32, tap: u8, best: &mut f32, chosen: &mut u8) {
    let higher = value > *best;
    *best = if higher { value } else { *best };
    *chosen = if higher { tap } else { *chosen };
}

/// The gradient of max pooling's input (batch, height, width, channels), written to `out`.
pub fn max_pool_backward(
    isa: Isa,
    (batch, height, width, channels): (usize, usize, usize, usize),
    gradient: &[f32],
    taps: &[u8],
    out: &mut [f32],
) {
    let (rows, columns) = (max_pool_side(height), max_pool_side(width));
    assert_eq!(out.len(), batch * height * width * channels);
    assert!(gradient.len() == batch * rows * columns * channels && taps.len() == gradient.len());
    out.par_chunks_mut(width * channels).enumerate().for_each(|(row, out)| {
        let (image, y) = (row / height, row % height);
        dispatch(isa, MaxPoolBackwardRow { rows, columns, channels, gradient, taps, image, y, out });
    });
}

struct MaxPoolBackwardRow<'a> {
    rows: usize,
    columns: usize,
    channels: usize,
    gradient: &'a [f32],
    taps: &'a [u8],
    image: usize,
    y: usize,
    out: &'a mut [f32],
}

/// The windows that hold input `i`, with the place it has there.
#[inline(always)]
fn windows(i: usize, outputs: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = (i + PADDING + 1).saturating_sub(KERNEL).div_ceil(STRIDE);
    let last = ((i + PADDING) / STRIDE).min(outputs - 1);
    (first..=last).map(move |o| (o, i + PADDING - o * STRIDE))
}

impl Kernel for MaxPoolBackwardRow<'_> {
    #[inline(always)]
    fn run<V: Simd>(self) {
        self.out.fill(0.0);
        for (x, out) in self.out.chunks_exact_mut(self.channels).enumerate() {
            for (oy, r) in windows(self.y, self.rows) {
                for (ox, s) in windows(x, self.columns) {
                    let at = ((self.image * self.rows + oy) * self.columns + ox) * self.channels;
                    let tap = (r * KERNEL + s) as u8;
                    let given = &self.gradient[at..at + self.channels];
                    for ((out, &g), &chosen) in out.iter_mut().zip(given).zip(&self.taps[at..at + self.channels]) {
                        *out += if chosen == tap { g } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// The mean over the pixels: (batch, pixels, channels) to (batch, channels).
pub fn global_avg_pool(channels: usize, pixels: usize, input: &[f32], out: &mut [f32]) {
    assert_eq!(input.len(), out.len() * pixels);
    out.par_chunks_mut(channels).zip(input.par_chunks(channels * pixels)).for_each(|(out, image)| {
        let mut sum = vec![0.0f64; channels];
        for pixel in image.chunks_exact(channels) {
            for (sum, &x) in sum.iter_mut().zip(pixel) {
                *sum += f64::from(x);
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = (sum / pixels as f64) as f32;
        }
    });
}

/// The gradient of global average pooling's input, written to `out`.
pub fn global_avg_pool_backward(channels: usize, pixels: usize, gradient: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), gradient.len() * pixels);
    let share = 1.0 / pixels as f32;
    out.par_chunks_mut(channels * pixels).zip(gradient.par_chunks(channels)).for_each(|(image, gradient)| {
        for pixel in image.chunks_exact_mut(channels) {
            for (x, g) in pixel.iter_mut().zip(gradient) {
                *x = g * share;
            }
        }
    });
}
