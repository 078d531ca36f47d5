//! Max pooling (3x3, stride 2, padding 1) and global average pooling, channels last.

use super::activation_view::ActivationView;
use super::element::{Element, part, write};
use super::shape::{BatchShape, ImageShape, checked_product};
use super::simd::{Kernel, MOST_LANES, Simd, dispatch};
use clsa_cpu::InstructionSet;
use rayon::prelude::*;

const KERNEL: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// Side of an image after max pooling, in pixels.
///
/// # Panics
/// The side is 0.
pub fn max_pool_side(side: usize) -> usize {
    assert!(side > 0, "an image without pixels has no maximum");
    (side + 2 * PADDING - KERNEL) / STRIDE + 1
}

/// Max pooling of `input`, a batch of `shape`, to `out` (batch, pooled height, pooled width, channels; the sides are
/// [`max_pool_side`]). `taps`, of the shape of `out`, receives which of a window's places (0 to 8, row by row) was taken:
/// the first of the highest, or the last NaN where there is one, as in PyTorch. An input that is normalized while it is
/// read is compared as it would be stored.
///
/// # Panics
/// A side of the shape is 0, a length is not that of the shape, the input's scale and shift are not (groups, channels)
/// with groups that divide the batch, or the CPU lacks the instruction set.
pub fn max_pool<E: Element>(
    instructions: InstructionSet,
    shape: BatchShape,
    input: ActivationView<'_, E>,
    out: &mut [E],
    taps: &mut [u8],
) {
    let BatchShape { batch, height, width, channels } = shape;
    let (rows, columns) = (max_pool_side(height), max_pool_side(width));
    assert_eq!(input.stored().len(), shape.len());
    assert!(out.len() == checked_product([batch, rows, columns, channels]) && taps.len() == out.len());
    let groups = match input {
        ActivationView::Plain(_) => 1,
        ActivationView::Normalized { scale, shift, .. } => {
            assert!(scale.len().is_multiple_of(channels) && shift.len() == scale.len());
            scale.len() / channels
        }
    };
    assert!(groups > 0 && batch.is_multiple_of(groups));
    let row_len = columns * channels;
    out.par_chunks_mut(row_len).zip(taps.par_chunks_mut(row_len)).enumerate().for_each(|(row, (out, taps))| {
        let (image, y) = (row / rows, row % rows);
        let group = image / (batch / groups);
        dispatch(instructions, MaxPoolRow { size: shape.image(), input, image, group, y, out, taps });
    });
}

struct MaxPoolRow<'a, E> {
    size: ImageShape,
    input: ActivationView<'a, E>,
    image: usize,
    group: usize,
    y: usize,
    out: &'a mut [E],
    taps: &'a mut [u8],
}

impl<E: Element> Kernel for MaxPoolRow<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let ImageShape { height, width, channels } = self.size;
        let stored = self.input.stored();
        let norm = self.input.norm_of_group(self.group, channels);
        // The rows and columns of a window that are inside the image.
        let inside = |o: usize, side: usize| {
            (0..KERNEL).filter_map(move |k| (o * STRIDE + k).checked_sub(PADDING).filter(|&i| i < side).map(|i| (k, i)))
        };
        for x in 0..self.out.len() / channels {
            for c in (0..channels).step_by(V::LANES) {
                let lanes = channels - c;
                // SAFETY: `max_pool` has checked the lengths; pixels are inside the image.
                unsafe {
                    let (mut best, mut chosen) = (V::splat(f32::NEG_INFINITY), V::zero());
                    for (r, iy) in inside(self.y, height) {
                        for (s, ix) in inside(x, width) {
                            let at = ((self.image * height + iy) * width + ix) * channels + c;
                            let mut v: V = part(stored.as_ptr().add(at), lanes);
                            if let Some(norm) = norm {
                                v = E::round(norm.apply(v, c, lanes));
                            }
                            chosen = v.select_above(best, V::splat((r * KERNEL + s) as f32), chosen);
                            best = v.select_above(best, v, best);
                        }
                    }
                    let at = x * channels + c;
                    write(best, self.out.as_mut_ptr().add(at), lanes);
                    let mut places = [0.0; MOST_LANES];
                    chosen.store(places.as_mut_ptr());
                    for (tap, place) in self.taps[at..].iter_mut().zip(places).take(lanes.min(V::LANES)) {
                        *tap = place as u8;
                    }
                }
            }
        }
    }
}

/// The gradient of max pooling's input, a batch of `shape`, written to `out`. `gradient` and `taps` have the shape of the
/// output; `taps` is as [`max_pool`] gave it.
///
/// # Panics
/// A side of the shape is 0, a length is not that of the shape, or the CPU lacks the instruction set.
pub fn max_pool_backward<E: Element>(
    instructions: InstructionSet,
    shape: BatchShape,
    gradient: &[E],
    taps: &[u8],
    out: &mut [E],
) {
    let BatchShape { batch, height, width, channels } = shape;
    let (rows, columns) = (max_pool_side(height), max_pool_side(width));
    assert_eq!(out.len(), shape.len());
    assert!(gradient.len() == checked_product([batch, rows, columns, channels]) && taps.len() == gradient.len());
    out.par_chunks_mut(width * channels).enumerate().for_each(|(row, out)| {
        let (image, y) = (row / height, row % height);
        dispatch(instructions, MaxPoolBackwardRow { rows, columns, channels, gradient, taps, image, y, out });
    });
}

struct MaxPoolBackwardRow<'a, E> {
    rows: usize,
    columns: usize,
    channels: usize,
    gradient: &'a [E],
    taps: &'a [u8],
    image: usize,
    y: usize,
    out: &'a mut [E],
}

/// The windows that hold input `i`, with the place it has there.
#[inline(always)]
fn windows(i: usize, outputs: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = (i + PADDING + 1).saturating_sub(KERNEL).div_ceil(STRIDE);
    let last = ((i + PADDING) / STRIDE).min(outputs - 1);
    (first..=last).map(move |o| (o, i + PADDING - o * STRIDE))
}

impl<E: Element> Kernel for MaxPoolBackwardRow<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        for (x, out) in self.out.chunks_exact_mut(self.channels).enumerate() {
            for (block, out) in out.chunks_mut(MOST_LANES).enumerate() {
                let mut sum = [0.0f32; MOST_LANES];
                for (oy, r) in windows(self.y, self.rows) {
                    for (ox, s) in windows(x, self.columns) {
                        let at = ((self.image * self.rows + oy) * self.columns + ox) * self.channels;
                        let at = at + block * MOST_LANES..at + block * MOST_LANES + out.len();
                        let tap = (r * KERNEL + s) as u8;
                        for ((sum, g), &chosen) in sum.iter_mut().zip(&self.gradient[at.clone()]).zip(&self.taps[at]) {
                            *sum += if chosen == tap { g.to_f32() } else { 0.0 };
                        }
                    }
                }
                for c in (0..out.len()).step_by(V::LANES) {
                    // SAFETY: as many elements as `out` has left.
                    unsafe { write(V::load(sum.as_ptr().add(c)), out.as_mut_ptr().add(c), out.len() - c) }
                }
            }
        }
    }
}

/// The mean over the pixels: `input` (batch, pixels, channels) to `out` (batch, channels).
///
/// # Panics
/// `input` is not `pixels` times as long as `out`, or there are no channels.
pub fn global_avg_pool<E: Element>(channels: usize, pixels: usize, input: &[E], out: &mut [f32]) {
    assert_eq!(input.len(), out.len() * pixels);
    out.par_chunks_mut(channels).zip(input.par_chunks(channels * pixels)).for_each(|(out, image)| {
        let mut sum = vec![0.0f64; channels];
        for pixel in image.chunks_exact(channels) {
            for (sum, &x) in sum.iter_mut().zip(pixel) {
                *sum += f64::from(x.to_f32());
            }
        }
        for (out, sum) in out.iter_mut().zip(sum) {
            *out = (sum / pixels as f64) as f32;
        }
    });
}

/// The gradient of global average pooling's input, written to `out` (batch, pixels, channels), from that of its output,
/// `gradient` (batch, channels).
///
/// # Panics
/// `out` is not `pixels` times as long as `gradient`, or there are no channels.
pub fn global_avg_pool_backward<E: Element>(channels: usize, pixels: usize, gradient: &[f32], out: &mut [E]) {
    assert_eq!(out.len(), gradient.len() * pixels);
    let share = 1.0 / pixels as f32;
    out.par_chunks_mut(channels * pixels).zip(gradient.par_chunks(channels)).for_each(|(image, gradient)| {
        let shares: Vec<E> = gradient.iter().map(|g| E::from_f32(g * share)).collect();
        for pixel in image.chunks_exact_mut(channels) {
            pixel.copy_from_slice(&shares);
        }
    });
}
