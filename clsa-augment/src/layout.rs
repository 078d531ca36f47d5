//! Writes an image as normalized single-precision values, or as bytes.

use macro_rules_attribute::apply;

use crate::Normalize;
use crate::normalize::normalized;
use crate::planes::{Planes, interleave};
use crate::vectorized::vectorized;

/// Order of the values that are written to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// All red values, then all green, then all blue: (3, height, width).
    ChannelsFirst,
    /// The three values of a pixel together: (height, width, 3).
    ChannelsLast,
}

/// What a view is written as: `f32`, normalized, or `u8`, the pixels as they are, for a device that normalizes them by
/// [`Normalize::tables`].
pub trait Value: Copy + sealed::Write {}

impl Value for f32 {}

impl Value for u8 {}

mod sealed {
    use super::{Layout, Normalize};

    pub trait Write: Sized {
        /// Writes an image of three planes in the order `layout` to `out`, which has three values for each pixel.
        fn write(planes: [&[u8]; 3], normalize: &Normalize, layout: Layout, out: &mut [Self]);
    }
}

impl sealed::Write for f32 {
    fn write(planes: [&[u8]; 3], normalize: &Normalize, layout: Layout, out: &mut [f32]) {
        match layout {
            Layout::ChannelsFirst => write_channels_first(planes, normalize, out),
            Layout::ChannelsLast => write_channels_last(planes, normalize, out),
        }
    }
}

impl sealed::Write for u8 {
    fn write(planes: [&[u8]; 3], _: &Normalize, layout: Layout, out: &mut [u8]) {
        match layout {
            Layout::ChannelsFirst => {
                out.chunks_exact_mut(planes[0].len()).zip(planes).for_each(|(out, plane)| out.copy_from_slice(plane));
            }
            Layout::ChannelsLast => interleave(planes, out),
        }
    }
}

/// Writes the image in the order `layout` to `out`, which has three values for each pixel.
pub(crate) fn write<V: Value>(image: &Planes, normalize: &Normalize, layout: Layout, out: &mut [V]) {
    V::write(image.rgb(), normalize, layout, out);
}

#[apply(vectorized)]
fn write_channels_first(planes: [&[u8]; 3], normalize: &Normalize, out: &mut [f32]) {
    for (channel, out) in out.chunks_exact_mut(planes[0].len()).enumerate() {
        let (mean, std) = (normalize.mean[channel], normalize.std[channel]);
        for (out, &value) in out.iter_mut().zip(planes[channel]) {
            *out = normalized(value, mean, std);
        }
    }
}

#[apply(vectorized)]
fn write_channels_last([r, g, b]: [&[u8]; 3], normalize: &Normalize, out: &mut [f32]) {
    let Normalize { mean, std } = *normalize;
    for (((out, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
        *out = [normalized(r, mean[0], std[0]), normalized(g, mean[1], std[1]), normalized(b, mean[2], std[2])];
    }
}
