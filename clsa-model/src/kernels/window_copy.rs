//! Copies a window of an activation into scratch, where products find it.

use super::activation_view::{ActivationView, ChannelNorm};
use super::element::{Element, Lanes};
use super::shape::ImageShape;
use super::simd::{Kernel, Simd, dispatch};
use super::span::Span;
use clsa_cpu::InstructionSet;
use std::ops::Range;

/// Copies a window of an activation into scratch of the type that is multiplied, with zeros where it reaches outside the
/// image.
pub(super) struct WindowCopy<'a, E> {
    pub source: ActivationView<'a, E>,
    pub image: ImageShape,
    /// First image, the group that it and the others belong to, and how many there are.
    pub first: usize,
    pub group: usize,
    pub images: usize,
    /// Scratch pixel (y, x) is pixel (y·gather + top, x·gather + left) of the image.
    pub top: isize,
    pub left: isize,
    pub gather: usize,
    /// Scratch rows and columns per image.
    pub rows: usize,
    pub columns: usize,
    /// The channels that are copied.
    pub channels: Span,
    /// Distance between scratch pixels, at least the number of channels; what lies between is zeroed if `clear`.
    pub pixel: usize,
    pub clear: bool,
}

impl<E: Element> WindowCopy<'_, E> {
    /// Elements that are written.
    pub fn len(&self) -> usize {
        self.images * self.rows * self.columns * self.pixel
    }

    /// Copies the window to `out`.
    ///
    /// # Panics
    /// `out` is shorter than the window, or the window's images or channels are not in the activation.
    pub fn run<S: Element>(&self, instructions: InstructionSet, out: &mut [S]) {
        assert!(out.len() >= self.len());
        self.check();
        dispatch(instructions, WindowCopyTo { window: self, out: out.as_mut_ptr() });
    }

    /// Checks what the kernels rely on.
    ///
    /// # Panics
    /// The window's images or channels are not in the activation.
    pub fn check(&self) {
        let channels = self.image.channels;
        assert!(self.source.stored().len() >= (self.first + self.images) * self.image.len());
        assert!(self.channels.end <= channels && self.channels.len() <= self.pixel);
        if let ActivationView::Normalized { scale, shift, .. } = self.source {
            assert!(scale.len() >= (self.group + 1) * channels && shift.len() >= (self.group + 1) * channels);
        }
    }

    /// The scratch columns x with `0 <= x·gather + left < width`.
    #[inline(always)]
    pub fn columns_inside(&self) -> Range<usize> {
        let gather = self.gather as isize;
        let start = ((-self.left).max(0) as usize).div_ceil(self.gather).min(self.columns);
        let end = (self.image.width as isize - self.left + gather - 1) / gather;
        start..end.clamp(start as isize, self.columns as isize) as usize
    }

    /// Where the first pixel of `columns_inside` is for a row of scratch, if the window has the row and the image too.
    ///
    /// # Safety
    /// The window is in its activation, as `check` asserts.
    #[inline(always)]
    pub unsafe fn row(&self, image: usize, y: usize) -> Option<*const E> {
        let ImageShape { height, width, channels } = self.image;
        let iy = y as isize * self.gather as isize + self.top;
        if image >= self.images || y >= self.rows || iy < 0 || iy >= height as isize {
            return None;
        }
        let first = self.columns_inside().start as isize * self.gather as isize + self.left;
        // SAFETY: the caller's.
        let row = unsafe {
            self.source.stored().as_ptr().add(((self.first + image) * height + iy as usize) * width * channels)
        };
        Some(row.wrapping_offset(first * channels as isize).wrapping_add(self.channels.start))
    }
}

struct WindowCopyTo<'a, E, S> {
    window: &'a WindowCopy<'a, E>,
    out: *mut S,
}

impl<E: Element, S: Element> Kernel for WindowCopyTo<'_, E, S> {
    const BF16: bool = E::BF16 || S::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let WindowCopy { source, group, images, gather, rows, columns, pixel, clear, .. } = *self.window;
        let channels = self.window.image.channels;
        let c0 = self.window.channels.start;
        let n = self.window.channels.len();
        let row_len = columns * pixel;
        let Range { start: x0, end: x1 } = self.window.columns_inside();
        for image in 0..images {
            for y in 0..rows {
                // SAFETY: `run` has checked the lengths; pixels outside the image are never read.
                unsafe {
                    let out = self.out.add((image * rows + y) * row_len);
                    let Some(mut from) = self.window.row(image, y) else {
                        out.write_bytes(0, row_len);
                        continue;
                    };
                    if x1 - x0 < columns {
                        out.write_bytes(0, x0 * pixel);
                        out.add(x1 * pixel).write_bytes(0, (columns - x1) * pixel);
                    }
                    let step = gather * channels;
                    match source {
                        ActivationView::Plain(_) if step == n && pixel == n => {
                            convert::<E, S, V>(from, out.add(x0 * n), (x1 - x0) * n);
                        }
                        ActivationView::Plain(_) => {
                            for x in x0..x1 {
                                let out = out.add(x * pixel);
                                convert::<E, S, V>(from, out, n);
                                if clear {
                                    out.add(n).write_bytes(0, pixel - n);
                                }
                                from = from.wrapping_add(step);
                            }
                        }
                        ActivationView::Normalized { scale, shift, relu, .. } => {
                            let at = group * channels + c0;
                            let norm =
                                ChannelNorm { scale: scale.as_ptr().add(at), shift: shift.as_ptr().add(at), relu };
                            for x in x0..x1 {
                                let out = out.add(x * pixel);
                                copy::<E, S, V>(from, out, n, |v, c, lanes| norm.apply(v, c, lanes));
                                if clear {
                                    out.add(n).write_bytes(0, pixel - n);
                                }
                                from = from.wrapping_add(step);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `to[i] = from[i]`, rounded.
#[inline(always)]
unsafe fn convert<E: Lanes, S: Lanes, V: Simd>(from: *const E, to: *mut S, n: usize) {
    // SAFETY: the caller gives `n` elements on both sides. There are two types of elements.
    unsafe {
        if E::BF16 == S::BF16 {
            to.copy_from_nonoverlapping(from.cast::<S>(), n);
        } else {
            copy::<E, S, V>(from, to, n, |v, _, _| v);
        }
    }
}

/// `to[i] = f(from[i], i, lanes left)`, by vectors.
#[inline(always)]
unsafe fn copy<E: Lanes, S: Lanes, V: Simd>(from: *const E, to: *mut S, n: usize, f: impl Fn(V, usize, usize) -> V) {
    // SAFETY: the caller gives `n` elements on both sides.
    unsafe {
        let mut i = 0;
        while i + V::LANES <= n {
            S::store(f(E::load(from.add(i)), i, V::LANES), to.add(i));
            i += V::LANES;
        }
        if i < n {
            S::store_first(f(E::load_first(from.add(i), n - i), i, n - i), to.add(i), n - i);
        }
    }
}
