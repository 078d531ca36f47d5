//! From the planes of luma and chroma to RGB, with libjpeg's "fancy" interpolation of the chroma.

use libjpeg_turbo_rs::decode::marker::JpegMetadata;
use libjpeg_turbo_rs::simd;

use super::baseline::{Plane, sampling};

/// Where the samples of chroma lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chroma {
    /// There are none: the image is grey.
    None,
    /// At every pixel (4:4:4).
    Full,
    /// Between every two pixels side by side (4:2:2).
    Halved,
    /// Amid every four pixels (4:2:0).
    Quartered,
}

impl Chroma {
    /// The layouts that are decoded here; others, and other colours than YCbCr, have none.
    pub(super) fn of(metadata: &JpegMetadata) -> Option<Self> {
        let components = &metadata.frame.components;
        let factors: Vec<_> = components.iter().map(sampling).collect();
        let ids: Vec<_> = components.iter().map(|component| component.id).collect();
        // libjpeg's `default_decompress_parms` is more generous; these are the clear cases.
        let ycbcr = match metadata.adobe_transform_at_first_sos {
            None => metadata.saw_jfif_marker_at_first_sos || ids == [1, 2, 3],
            Some(transform) => transform == 1,
        };
        // Of two samples side by side, or of one, libjpeg interpolates nothing.
        let interpolated = metadata.frame.width > 4;
        match *factors {
            [_] => Some(Self::None),
            [(1, 1), (1, 1), (1, 1)] if ycbcr => Some(Self::Full),
            [(2, 1), (1, 1), (1, 1)] if ycbcr && interpolated => Some(Self::Halved),
            [(2, 2), (1, 1), (1, 1)] if ycbcr && interpolated => Some(Self::Quartered),
            _ => None,
        }
    }
}

/// The pixels of `planes`, row by row, channels last.
pub(super) fn to_rgb(planes: &[Plane], chroma: Chroma, width: usize, height: usize) -> Vec<u8> {
    let mut pixels = vec![0; 3 * width * height];
    let routines = simd::detect();
    let half = width.div_ceil(2);
    let mut full = [vec![0; 2 * half], vec![0; 2 * half]];
    let mut sums = vec![0; half];
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let luma = planes[0].row(y, width);
        match chroma {
            Chroma::None => row.as_chunks_mut().0.iter_mut().zip(luma).for_each(|(pixel, &grey)| *pixel = [grey; 3]),
            Chroma::Full => {
                routines.ycbcr_to_rgb_row(luma, planes[1].row(y, width), planes[2].row(y, width), row, width);
            }
            Chroma::Halved => {
                for (full, plane) in full.iter_mut().zip(&planes[1..]) {
                    routines.fancy_upsample_h2v1(plane.row(y, half), half, full);
                }
                routines.ycbcr_to_rgb_row(luma, &full[0], &full[1], row, width);
            }
            Chroma::Quartered => {
                let other =
                    if y % 2 == 0 { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(height.div_ceil(2) - 1) };
                for (full, plane) in full.iter_mut().zip(&planes[1..]) {
                    interpolate(plane.row(y / 2, half), plane.row(other, half), &mut sums, full);
                }
                routines.ycbcr_to_rgb_row(luma, &full[0], &full[1], row, width);
            }
        }
    }
    pixels
}

/// A row of twice the width between the rows `near` and `other`, of which it is three times as far from the latter, as
/// libjpeg's `h2v2_fancy_upsample` makes it. `sums` has room for a row.
fn interpolate(near: &[u8], other: &[u8], sums: &mut [u16], full: &mut [u8]) {
    for ((sum, &near), &other) in sums.iter_mut().zip(near).zip(other) {
        *sum = 3 * u16::from(near) + u16::from(other);
    }
    let [first, inner @ .., last] = full else { return };
    *first = ((4 * sums[0] + 8) >> 4) as u8;
    *last = ((4 * sums[sums.len() - 1] + 7) >> 4) as u8;
    for ((pair, &left), &right) in inner.as_chunks_mut().0.iter_mut().zip(&*sums).zip(&sums[1..]) {
        *pair = [((3 * left + right + 7) >> 4) as u8, ((3 * right + left + 8) >> 4) as u8];
    }
}
