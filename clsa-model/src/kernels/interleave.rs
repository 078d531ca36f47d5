//! Left and right operands of bf16 for sums over pixels: the words of scratch are pairs of values, one from each of two
//! windows of an operand.

#![allow(clippy::needless_range_loop, reason = "registers are indexed by counters of loops that the compiler unrolls")]

use super::activation_view::{ActivationView, ChannelNorm};
use super::element::{Element, part};
use super::shape::ImageShape;
use super::simd::{PairKernel, PairSimd, dispatch_pairs};
use super::window_copy::WindowCopy;
use clsa_cpu::InstructionSet;
use half::bf16;

/// Copies one or two windows as [`WindowCopy`] does, interleaved. They differ in their place and in how much of the
/// scratch's rows and images they fill; zeros stand for what one of them lacks.
///
/// # Panics
/// There are more than two windows, they differ in something else, or `out` is too short.
pub(super) fn interleave<E: Element>(instructions: InstructionSet, windows: &[WindowCopy<'_, E>], out: &mut [bf16]) {
    let images = windows.iter().map(|w| w.images).max().unwrap_or(0);
    let rows = windows.iter().map(|w| w.rows).max().unwrap_or(0);
    let (Some(a), Some(b)) = (windows.first(), windows.last()) else { return };
    assert!(windows.len() <= 2 && out.len() >= 2 * images * rows * a.columns * a.pixel);
    assert!((a.left, a.gather, a.columns, a.pixel) == (b.left, b.gather, b.columns, b.pixel));
    assert!(a.channels == b.channels && a.image == b.image && a.clear == b.clear);
    for window in windows {
        window.check();
    }
    let out = out.as_mut_ptr();
    dispatch_pairs(instructions, Interleave { windows: [Some(a), windows.get(1)], images, rows, out });
}

struct Interleave<'a, E> {
    windows: [Option<&'a WindowCopy<'a, E>>; 2],
    images: usize,
    rows: usize,
    out: *mut bf16,
}

impl<E: Element> PairKernel for Interleave<'_, E> {
    #[inline(always)]
    fn run<V: PairSimd>(self) {
        let Some(common) = self.windows[0] else { return };
        let WindowCopy { columns, pixel, gather, .. } = *common;
        let ImageShape { channels, .. } = common.image;
        let n = common.channels.len();
        let inside = common.columns_inside();
        for image in 0..self.images {
            for y in 0..self.rows {
                // SAFETY: `interleave` has checked the lengths; pixels outside the image are never read.
                unsafe {
                    let out = self.out.add(2 * (image * self.rows + y) * columns * pixel);
                    // Not by `map`, which is not compiled with the instruction set's features.
                    let mut rows = [None; 2];
                    for i in 0..2 {
                        if let Some(window) = self.windows[i] {
                            rows[i] = window.row(image, y);
                        }
                    }
                    if rows[0].is_none() && rows[1].is_none() {
                        out.write_bytes(0, 2 * columns * pixel);
                        continue;
                    }
                    if inside.len() < columns {
                        out.write_bytes(0, 2 * inside.start * pixel);
                        out.add(2 * inside.end * pixel).write_bytes(0, 2 * (columns - inside.end) * pixel);
                    }
                    for x in inside.clone() {
                        let out = out.add(2 * x * pixel);
                        let offset = (x - inside.start) * gather * channels;
                        for c in (0..n).step_by(V::LANES) {
                            let mut halves = [V::zero(); 2];
                            for i in 0..2 {
                                if let (Some(row), Some(window)) = (rows[i], self.windows[i]) {
                                    halves[i] = value(window, row.add(offset), c, n - c);
                                }
                            }
                            let words = V::pair(halves[0], halves[1]);
                            let to = out.add(2 * c).cast::<f32>();
                            if n - c >= V::LANES { words.store(to) } else { words.store_first(to, n - c) }
                        }
                        if common.clear {
                            out.add(2 * n).write_bytes(0, 2 * (pixel - n));
                        }
                    }
                }
            }
        }
    }
}

/// The values of a window's pixel at `from`, from its channel `c`.
#[inline(always)]
unsafe fn value<E: Element, V: PairSimd>(window: &WindowCopy<'_, E>, from: *const E, c: usize, lanes: usize) -> V {
    // SAFETY: the caller's.
    unsafe {
        let v: V = part(from.add(c), lanes);
        match window.source {
            ActivationView::Plain(_) => v,
            ActivationView::Normalized { scale, shift, relu, .. } => {
                let at = window.group * window.image.channels + window.channels.start;
                let norm = ChannelNorm { scale: scale.as_ptr().add(at), shift: shift.as_ptr().add(at), relu };
                norm.apply(v, c, lanes)
            }
        }
    }
}
