//! Writes an image as normalized single-precision values.

use macro_rules_attribute::apply;
use serde::{Deserialize, Serialize};

use crate::Normalize;
use crate::planes::Planes;
use crate::vectorized::vectorized;

/// Order of the values that are written to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Layout {
    /// All red values, then all green, then all blue: (3, height, width).
    ChannelsFirst,
    /// The three values of a pixel together: (height, width, 3).
    ChannelsLast,
}

/// Writes the image in the order `layout` to `out`, which has three values for each pixel.
pub(crate) fn write(image: &Planes, normalize: &Normalize, layout: Layout, out: &mut [f32]) {
    match layout {
        Layout::ChannelsFirst => write_channels_first(image, normalize, out),
        Layout::ChannelsLast => write_channels_last(image, normalize, out),
    }
}

#[apply(vectorized)]
fn write_channels_first(image: &Planes, normalize: &Normalize, out: &mut [f32]) {
    let planes = image.rgb();
    for (channel, out) in out.chunks_exact_mut(planes[0].len()).enumerate() {
        let (mean, std) = (normalize.mean[channel], normalize.std[channel]);
        for (out, &value) in out.iter_mut().zip(planes[channel]) {
            *out = normalized(value, mean, std);
        }
    }
}

#[apply(vectorized)]
fn write_channels_last(image: &Planes, normalize: &Normalize, out: &mut [f32]) {
    let Normalize { mean, std } = *normalize;
    let [r, g, b] = image.rgb();
    for (((out, &r), &g), &b) in out.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
        *out = [normalized(r, mean[0], std[0]), normalized(g, mean[1], std[1]), normalized(b, mean[2], std[2])];
    }
}

/// torchvision's `ToTensor` and `Normalize` of one value, in single precision.
#[inline(always)]
fn normalized(value: u8, mean: f32, std: f32) -> f32 {
    (f32::from(value) / 255.0 - mean) / std
}
