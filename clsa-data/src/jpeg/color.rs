//! What the components of a file are, and how a row of them becomes RGB.

use multiversion::multiversion;

use super::frame::Component;

/// What the components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Gray,
    Rgb,
    YCbCr,
    /// Inverted, as Adobe writes it.
    Cmyk,
    /// CMY as YCbCr, and K, all inverted.
    Ycck,
}

impl Space {
    /// What libjpeg's `default_decompress_parms` takes the components for, of which there are 1, 3 or 4: by the transform
    /// that an Adobe marker states, if there is one, and by whether there is a JFIF marker.
    pub(super) fn of(components: &[Component], jfif: bool, adobe: Option<u8>) -> Self {
        let rgb = || components.iter().map(|component| component.id).eq(*b"RGB");
        match (components.len(), adobe) {
            (1, _) => Self::Gray,
            (3, _) if jfif => Self::YCbCr,
            (3, Some(0)) => Self::Rgb,
            (3, None) if rgb() => Self::Rgb,
            (3, _) => Self::YCbCr,
            (_, None | Some(0)) => Self::Cmyk,
            (_, Some(_)) => Self::Ycck,
        }
    }

    /// The pixels of a row of the components, of which there may be fewer than four. `inks` has room for four numbers for
    /// each pixel of CMYK.
    pub(super) fn to_rgb(self, [first, second, third, fourth]: [&[u8]; 4], inks: &mut [u8], rgb: &mut [u8]) {
        match self {
            Self::Gray => interleave([first; 3], rgb),
            Self::Rgb => interleave([first, second, third], rgb),
            Self::YCbCr => ycbcr_to_rgb(first, second, third, rgb),
            Self::Cmyk => {
                interleave([first, second, third, fourth], inks);
                cmyk_to_rgb(inks, rgb);
            }
            Self::Ycck => {
                ycbcr_to_rgb(first, second, third, rgb);
                let pixels = rgb.as_chunks::<3>().0.iter().zip(fourth);
                for (ink, (rgb, &black)) in inks.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
                    *ink = [255 - rgb[0], 255 - rgb[1], 255 - rgb[2], black];
                }
                cmyk_to_rgb(inks, rgb);
            }
        }
    }
}

/// One number of each row after the other.
#[inline(always)]
fn interleave<const N: usize>(rows: [&[u8]; N], pixels: &mut [u8]) {
    for (x, pixel) in pixels.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        *pixel = rows.map(|row| row[x]);
    }
}

/// What libjpeg's `ycc_rgb_convert` gives, whose tables hold products rounded to whole numbers. Here, as in libjpeg-turbo's
/// kernels, a factor's whole part is apart, so that the rest is a product of 16 bits.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn ycbcr_to_rgb(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
    /// A number, at most 128, times a factor of 16 bits below the point, rounded.
    #[inline(always)]
    fn times(number: i16, factor: i16) -> i16 {
        let double = ((i32::from(2 * number) * i32::from(factor)) >> 16) as i16;
        (double + 1) >> 1
    }
    let saturated = |number: i16| number.clamp(0, 255) as u8;
    for (((rgb, &luma), &blue), &red) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma).zip(blue).zip(red) {
        let (luma, blue, red) = (i16::from(luma), i16::from(blue) - 128, i16::from(red) - 128);
        // The factors are 1.402; -0.34414 and -0.71414; 1.772.
        let both = i32::from(blue) * -22554 + i32::from(red) * 18734;
        *rgb = [
            saturated(luma + red + times(red, 26345)),
            saturated(luma - red + ((both + (1 << 15)) >> 16) as i16),
            saturated(luma + 2 * blue + times(blue, -14942)),
        ];
    }
}

/// Pillow's colors: it takes every CMYK JPEG for an inverted one, as Adobe writes them, and then scales what each ink
/// leaves by what black leaves.
pub(super) fn cmyk_to_rgb(inverted: &[u8], rgb: &mut [u8]) {
    let scaled = |ink: u8, white: u8| {
        let product = u32::from(ink) * u32::from(white) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    for (pixel, ink) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(inverted.as_chunks::<4>().0) {
        *pixel = [0, 1, 2].map(|channel| ink[3] - scaled(255 - ink[channel], ink[3]));
    }
}
