//! `ImageFilter.GaussianBlur`: three extended box blurs along rows, then three along columns (Gwosdek and others 2011,
//! "Theoretical foundations of Gaussian convolution by extended box filtering").

use crate::planes::Planes;

/// An extended box filter: `2·radius + 1` whole taps and one fractional tap on either side, in 24-bit fixed point.
#[derive(Clone, Copy, Debug)]
struct ExtendedBox {
    radius: usize,
    whole: u32,
    fraction: u32,
}

const PASSES: f32 = 3.0;

impl ExtendedBox {
    /// The filter whose threefold application has the standard deviation `sigma`; in single precision, as in Pillow.
    fn new(sigma: f64) -> Self {
        let sigma = sigma as f32;
        let variance = sigma * sigma / PASSES;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let mut fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        fraction /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
        let radius = whole + fraction;
        let taps = radius as usize;
        let whole = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let fraction = ((1 << 24) - (taps as u32 * 2 + 1) * whole) / 2;
        Self { radius: taps, whole, fraction }
    }

    #[inline(always)]
    fn value(self, sum: u32, far: u32) -> u8 {
        ((sum * self.whole + far * self.fraction + (1 << 23)) >> 24) as u8
    }
}

/// Storage of the blur, kept between images.
#[derive(Debug, Default)]
pub(crate) struct BlurScratch {
    line: Vec<u8>,
    sums: Vec<u32>,
    plane: Vec<u8>,
}

/// Blurs with the standard deviation `sigma` in pixels; 0 leaves the image as it is.
pub(crate) fn gaussian_blur(image: &mut Planes, sigma: f64, scratch: &mut BlurScratch) {
    let filter = ExtendedBox::new(sigma);
    if sigma == 0.0 || (filter.radius == 0 && filter.fraction == 0) {
        return;
    }
    let width = image.width();
    for row in image.data_mut().chunks_exact_mut(width) {
        for _ in 0..3 {
            blur_row(row, filter, &mut scratch.line);
        }
    }
    for plane in image.rgb_mut() {
        for _ in 0..3 {
            blur_columns(plane, width, filter, scratch);
        }
    }
}

fn blur_row(row: &mut [u8], filter: ExtendedBox, line: &mut Vec<u8>) {
    let reach = filter.radius + 1;
    line.clear();
    line.extend(std::iter::repeat_n(row[0], reach));
    line.extend_from_slice(row);
    line.extend(std::iter::repeat_n(row[row.len() - 1], reach));
    let mut sum: u32 = line[1..2 * reach].iter().map(|&v| u32::from(v)).sum();
    let last = 2 * reach;
    for (x, value) in row.iter_mut().enumerate() {
        let far = u32::from(line[x]) + u32::from(line[x + last]);
        *value = filter.value(sum, far);
        sum = sum + u32::from(line[x + last]) - u32::from(line[x + 1]);
    }
}

fn blur_columns(plane: &mut [u8], width: usize, filter: ExtendedBox, scratch: &mut BlurScratch) {
    let height = plane.len() / width;
    let reach = filter.radius + 1;
    scratch.plane.clear();
    scratch.plane.extend_from_slice(plane);
    let source = &scratch.plane;
    let row = |y: isize| {
        let y = y.clamp(0, height as isize - 1) as usize;
        &source[y * width..(y + 1) * width]
    };
    let reach = reach as isize;
    scratch.sums.clear();
    scratch.sums.resize(width, 0);
    for y in 1 - reach..reach {
        for (sum, &value) in scratch.sums.iter_mut().zip(row(y)) {
            *sum += u32::from(value);
        }
    }
    for (y, out) in plane.chunks_exact_mut(width).enumerate() {
        let y = y as isize;
        let (above, below, leaving) = (row(y - reach), row(y + reach), row(y - reach + 1));
        let inputs = above.iter().zip(below).zip(leaving);
        for ((out, sum), ((&above, &below), &leaving)) in out.iter_mut().zip(&mut scratch.sums).zip(inputs) {
            *out = filter.value(*sum, u32::from(above) + u32::from(below));
            *sum = *sum + u32::from(below) - u32::from(leaving);
        }
    }
}
