//! What a convolution reads: an activation as it is stored, or the batch norm and ReLU of one computed while it is
//! loaded, so that only the convolution's output need be kept.

use super::element::{Element, Lanes, part};
use super::simd::{Isa, Kernel, Simd, dispatch};

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

/// Copies a window of an operand into scratch of f32, with zeros where it reaches outside the image.
pub(super) struct Fill<'a, E> {
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
    pub out: *mut f32,
}

impl<E: Element> Fill<'_, E> {
    /// Elements that are written.
    pub fn len(&self) -> usize {
        self.images * self.rows * self.columns * self.pixel
    }

    pub fn to(self, isa: Isa, out: &mut [f32]) {
        assert!(out.len() >= self.len());
        let (h, w, c) = self.image;
        assert!(self.source.stored().len() >= (self.first + self.images) * h * w * c);
        assert!(self.channels.1 <= c && self.channels.1 - self.channels.0 <= self.pixel);
        if let Source::Norm { scale, shift, .. } = self.source {
            assert!(scale.len() >= (self.group + 1) * c && shift.len() >= (self.group + 1) * c);
        }
        dispatch(isa, Fill { out: out.as_mut_ptr(), ..self });
    }
}

impl<E: Element> Kernel for Fill<'_, E> {
    const BF16: bool = E::BF16;

    #[inline(always)]
    fn run<V: Simd>(self) {
        let (height, width, channels) = self.image;
        let (c0, c1) = self.channels;
        let n = c1 - c0;
        let row_len = self.columns * self.pixel;
        let stored = self.source.stored().as_ptr();
        // The columns x with 0 <= x·gather + left < width.
        let gather = self.gather as isize;
        let x0 = ((-self.left).max(0) as usize).div_ceil(self.gather).min(self.columns);
        let x1 =
            ((width as isize - self.left + gather - 1) / gather).clamp(x0 as isize, self.columns as isize) as usize;
        for image in 0..self.images {
            for y in 0..self.rows {
                let iy = y as isize * gather + self.top;
                // SAFETY: `to` has checked the lengths; pixels outside the image are never read.
                unsafe {
                    let out = self.out.add((image * self.rows + y) * row_len);
                    if iy < 0 || iy >= height as isize {
                        out.write_bytes(0, row_len);
                        continue;
                    }
                    out.write_bytes(0, x0 * self.pixel);
                    out.add(x1 * self.pixel).write_bytes(0, (self.columns - x1) * self.pixel);
                    let row = stored.add(((self.first + image) * height + iy as usize) * width * channels + c0);
                    let step = self.gather * channels;
                    let first = x0 as isize * gather + self.left;
                    let mut from = row.wrapping_offset(first * channels as isize);
                    match self.source {
                        Source::Plain(_) if step == n && self.pixel == n => {
                            copy::<E, V>(from, out.add(x0 * n), (x1 - x0) * n, |v, _, _| v);
                        }
                        Source::Plain(_) => {
                            for x in x0..x1 {
                                let out = out.add(x * self.pixel);
                                copy::<E, V>(from, out, n, |v, _, _| v);
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
                                copy::<E, V>(from, out, n, |v, c, lanes| {
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

/// `to[i] = f(from[i], i, lanes left)`, by vectors.
#[inline(always)]
unsafe fn copy<E: Lanes, V: Simd>(from: *const E, to: *mut f32, n: usize, f: impl Fn(V, usize, usize) -> V) {
    // SAFETY: the caller gives `n` elements on both sides.
    unsafe {
        let mut i = 0;
        while i + V::LANES <= n {
            f(E::load(from.add(i)), i, V::LANES).store(to.add(i));
            i += V::LANES;
        }
        if i < n {
            f(E::load_first(from.add(i), n - i), i, n - i).store_first(to.add(i), n - i);
        }
    }
}
