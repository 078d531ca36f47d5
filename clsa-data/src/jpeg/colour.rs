//! From the planes of a file's components to RGB, with libjpeg's "fancy" interpolation of those that have fewer samples.

use image::RgbImage;
use libjpeg_turbo_rs::decode::marker::JpegMetadata;
use libjpeg_turbo_rs::simd;

use super::baseline::{Plane, sampling};
use super::cmyk_to_rgb;

/// What the components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Grey,
    YCbCr,
    /// Inverted, as Adobe writes it.
    Cmyk,
    /// CMY as YCbCr, and K, all inverted.
    Ycck,
}

/// Where a component has samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Samples {
    /// At every pixel.
    Full,
    /// Between every two pixels side by side, as the chroma of 4:2:2.
    Halved,
    /// Amid every four pixels, as the chroma of 4:2:0.
    Quartered,
}

/// What becomes of the planes.
pub(super) struct Colours {
    space: Space,
    samples: Vec<Samples>,
}

impl Colours {
    /// Those that are decoded here; there are none for other colours and layouts.
    pub(super) fn of(metadata: &JpegMetadata) -> Option<Self> {
        let components = &metadata.frame.components;
        let ids: Vec<_> = components.iter().map(|component| component.id).collect();
        // libjpeg's `default_decompress_parms` is more generous; these are the clear cases.
        let space = match (components.len(), metadata.adobe_transform_at_first_sos) {
            (1, _) => Space::Grey,
            (3, None) if metadata.saw_jfif_marker_at_first_sos || ids == [1, 2, 3] => Space::YCbCr,
            (3, Some(1)) => Space::YCbCr,
            (4, None | Some(0)) => Space::Cmyk,
            (4, Some(2)) => Space::Ycck,
            _ => return None,
        };
        let factors: Vec<_> = components.iter().map(sampling).collect();
        if factors.len() == 1 {
            return Some(Self { space, samples: vec![Samples::Full] });
        }
        let most = factors[0];
        // Of two samples side by side, or of one, libjpeg interpolates nothing.
        let interpolated = metadata.frame.width > 4;
        let samples = factors.into_iter().map(|factors| match (most, factors) {
            ((1, 1) | (2, 1) | (2, 2), factors) if factors == most => Some(Samples::Full),
            ((2, 1), (1, 1)) if interpolated => Some(Samples::Halved),
            ((2, 2), (1, 1)) if interpolated => Some(Samples::Quartered),
            _ => None,
        });
        Some(Self { space, samples: samples.collect::<Option<_>>()? })
    }
}

/// The image of `planes`.
pub(super) fn to_rgb(planes: &[Plane], colours: &Colours, width: usize, height: usize) -> Option<RgbImage> {
    let routines = simd::detect();
    let half = width.div_ceil(2);
    let mut full: Vec<Vec<u8>> = colours.samples.iter().map(|_| vec![0; 2 * half]).collect();
    let mut sums = vec![0; half];
    let mut pixels = vec![0; 3 * width * height];
    let mut inks = vec![0; if planes.len() == 4 { 4 * width } else { 0 }];
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        for ((samples, plane), full) in colours.samples.iter().zip(planes).zip(&mut full) {
            match samples {
                Samples::Full => {}
                Samples::Halved => routines.fancy_upsample_h2v1(plane.row(y, half), half, full),
                Samples::Quartered => {
                    let last = height.div_ceil(2) - 1;
                    let other = if y % 2 == 0 { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(last) };
                    interpolate(plane.row(y / 2, half), plane.row(other, half), &mut sums, full);
                }
            }
        }
        let component = |at: usize| match colours.samples[at] {
            Samples::Full => planes[at].row(y, width),
            Samples::Halved | Samples::Quartered => &full[at][..width],
        };
        match colours.space {
            Space::Grey => {
                row.as_chunks_mut().0.iter_mut().zip(component(0)).for_each(|(pixel, &grey)| *pixel = [grey; 3]);
            }
            Space::YCbCr => routines.ycbcr_to_rgb_row(component(0), component(1), component(2), row, width),
            Space::Cmyk => {
                for (x, ink) in inks.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *ink = [component(0)[x], component(1)[x], component(2)[x], component(3)[x]];
                }
                cmyk_to_rgb(&inks, row);
            }
            Space::Ycck => {
                routines.ycbcr_to_rgb_row(component(0), component(1), component(2), row, width);
                let rgbk = row.as_chunks::<3>().0.iter().zip(component(3));
                for (ink, (rgb, &black)) in inks.as_chunks_mut::<4>().0.iter_mut().zip(rgbk) {
                    *ink = [255 - rgb[0], 255 - rgb[1], 255 - rgb[2], black];
                }
                cmyk_to_rgb(&inks, row);
            }
        }
    }
    RgbImage::from_raw(width as u32, height as u32, pixels)
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
