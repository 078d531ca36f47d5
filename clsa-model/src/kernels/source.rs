//! What a convolution reads: an activation as it is stored, or the batch norm and ReLU of one computed while it is
//! loaded, so that only the convolution's output need be kept.

use super::element::{Element, Lanes, part};
use super::simd::{Isa, Kernel, Simd, dispatch};
use std::ops::Range;

/// An operand in memory, channels last.
#[derive(Clone, Copy)]
pub enum Source<'a, E> {
    /// The values themselves.
    Plain(&'a [E]),
    /// `relu?(z * scale + shift)`: `scale` and `shift` have one value per group of images and channel.
    Norm {
        /// A convolution's output.
        z: &'a [E],
        /// (groups, channels).
        scale: &'a [f32],
        /// (groups, channels).
        shift: &'a [f32],
        /// Whether ReLU follows.
        relu: bool,
    },
}

impl<'a, E> Source<'a, E> {
    /// The values in memory.
    pub(super) fn stored(&self) -> &'a [E] {
        match *self {
            Self::Plain(values) | Self::Norm { z: values, .. } => values,
        }
    }
}

/// Copies a window of an operand into scratch of the type that is multiplied, with zeros where it reaches outside the image.
pub(super) struct Fill<'a, E, S> {
    pub source: Source<'a, E>,
    /// Rows, columns and channels of an image.
    pub image: (usize, usize, usize),
    /// First image, and the group that it and the others belong to.
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
    pub channels: (usize, usize),
    /// Distance between scratch pixels, at least the number of channels; what lies between is zeroed if `clear`.
    pub pixel: usize,
    pub clear: bool,
    pub out: *mut S,
}

impl<E: Element, S: Element> Fill<'_, E, S> {
    /// Elements that are written.
    pub fn len(&self) -> usize {
        self.images * self.rows * self.columns * self.pixel
    }

    pub fn to(self, isa: Isa, out: &mut [S]) {
        assert!(out.len() >= self.len());
        self.check();
        dispatch(isa, Fill { out: out.as_mut_ptr(), ..self });
    }

    /// # Panics
    /// If the window's images or channels are not in the operand.
    pub fn check(&self) {
        let (h, w, c) = self.image;
        assert!(self.source.stored().len() >= (self.first + self.images) * h * w * c);
        assert!(self.channels.1 <= c && self.channels.1 - self.channels.0 <= self.pixel);
        if let Source::Norm { scale, shift, .. } = self.source {
            assert!(scale.len() >= (self.group + 1) * c && shift.len() >= (self.group + 1) * c);
        }
    }

    /// The scratch columns x with `0 <= x·gather + left < width`.
    #[inline(always)]
    pub fn columns_inside(&self) -> Range<usize> {
        let gather = self.gather as isize;
        let start = ((-self.left).max(0) as usize).div_ceil(self.gather).min(self.columns);
        let end = (self.image.1 as isize - self.left + gather - 1) / gather;
        start..end.clamp(start as isize, self.columns as isize) as usize
    }

    /// Where the first pixel of `columns_inside` is, for a row of scratch, if the window has it and it is in the image.
    ///
    /// # Safety
    /// The window is in its operand, as `check` tells.
    #[inline(always)]
    pub unsafe fn row(&self, image: usize, y: usize) -> Option<*const E> {
        let (height, width, channels) = self.image;
        let iy = y as isize * self.gather as isize + self.top;
        if image >= self.images || y >= self.rows || iy < 0 || iy >= height as isize {
            return None;
        }
        let first = self.columns_inside().start as isize * self.gather as isize + self.left;
        // SAFETY: the caller's.
        let row = unsafe {
            self.source.stored().as_ptr().add(((self.first + image) * height + iy as usize) * width * channels)
        };
        Some(row.wrapping_offset(first * channels as isize).wrapping_add(self.channels.0))
    }
}

impl<E: Element, S: Element> Kernel for Fill<'_, E, S> {
    const BF16: bool = E::BF16 || S::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let channels = self.image.2;
        let (c0, c1) = self.channels;
        let n = c1 - c0;
        let row_len = self.columns * self.pixel;
        let Range { start: x0, end: x1 } = self.columns_inside();
        for image in 0..self.images {
            for y in 0..self.rows {
                // SAFETY: `to` has checked the lengths; pixels outside the image are never read.
                unsafe {
                    let out = self.out.add((image * self.rows + y) * row_len);
                    let Some(mut from) = self.row(image, y) else {
                        out.write_bytes(0, row_len);
                        continue;
                    };
                    if x1 - x0 < self.columns {
                        out.write_bytes(0, x0 * self.pixel);
                        out.add(x1 * self.pixel).write_bytes(0, (self.columns - x1) * self.pixel);
                    }
                    let step = self.gather * channels;
                    match self.source {
                        Source::Plain(_) if step == n && self.pixel == n => {
                            same::<E, S, V>(from, out.add(x0 * n), (x1 - x0) * n);
                        }
                        Source::Plain(_) => {
                            for x in x0..x1 {
                                let out = out.add(x * self.pixel);
                                same::<E, S, V>(from, out, n);
                                if self.clear {
                                    out.add(n).write_bytes(0, self.pixel - n);
                                }
                                from = from.wrapping_add(step);
                            }
                        }
                        Source::Norm { scale, shift, relu, .. } => {
                            let scale = scale.as_ptr().add(self.group * channels + c0);
                            let shift = shift.as_ptr().add(self.group * channels + c0);
                            let zero = V::zero();
                            for x in x0..x1 {
                                let out = out.add(x * self.pixel);
                                copy::<E, S, V>(from, out, n, |v, c, lanes| {
                                    let y = v.mul_add(part(scale.add(c), lanes), part(shift.add(c), lanes));
                                    if relu { zero.max(y) } else { y }
                                });
                                if self.clear {
                                    out.add(n).write_bytes(0, self.pixel - n);
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

/// `to[i] = from[i]`.
#[inline(always)]
unsafe fn same<E: Lanes, S: Lanes, V: Simd>(from: *const E, to: *mut S, n: usize) {
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
