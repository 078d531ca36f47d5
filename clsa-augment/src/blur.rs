//! `ImageFilter.GaussianBlur`: three extended box blurs along rows, then three along columns (Gwosdek and others 2011,
//! "Theoretical foundations of Gaussian convolution by extended box filtering").

use macro_rules_attribute::apply;

use crate::planes::Planes;
use crate::vectorized::vectorized;

const PASSES: usize = 3;

/// An extended box filter: `2·radius + 1` whole taps and one fractional tap on either side, in 24-bit fixed point.
#[derive(Clone, Copy, Debug)]
struct ExtendedBox {
    radius: usize,
    whole: u32,
    fraction: u32,
}

impl ExtendedBox {
    /// The filter whose threefold application has the standard deviation `sigma`; in single precision, as in Pillow.
    fn new(sigma: f64) -> Self {
        let sigma = sigma as f32;
        let variance = sigma * sigma / PASSES as f32;
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

    /// Pixels on either side that a result depends on.
    fn reach(self) -> usize {
        self.radius + 1
    }

    /// The result from the sum under the whole taps and the sum under the fractional ones.
    #[inline(always)]
    fn value(self, sum: u32, far: u32) -> u8 {
        ((sum * self.whole + far * self.fraction + (1 << 23)) >> 24) as u8
    }
}

/// Storage of the blur, kept between images.
#[derive(Debug, Default)]
pub(crate) struct BlurScratch {
    /// A row with its ends repeated on either side.
    padded: Vec<u8>,
    plane: Vec<u8>,
    sums: Vec<u32>,
}

/// Blurs with the standard deviation `sigma` in pixels; 0 leaves the image as it is.
pub(crate) fn gaussian_blur(image: &mut Planes, sigma: f64, scratch: &mut BlurScratch) {
    let filter = ExtendedBox::new(sigma);
    if filter.radius == 0 && filter.fraction == 0 {
        return;
    }
    let width = image.width();
    for row in image.data_mut().chunks_exact_mut(width) {
        blur_row(row, filter, &mut scratch.padded);
    }
    for plane in image.rgb_mut() {
        for _ in 0..PASSES {
            blur_columns(plane, width, filter, scratch);
        }
    }
}

#[apply(vectorized)]
fn blur_row(row: &mut [u8], filter: ExtendedBox, padded: &mut Vec<u8>) {
    let reach = filter.reach();
    padded.resize(row.len() + 2 * reach, 0);
    for _ in 0..PASSES {
        padded[..reach].fill(row[0]);
        padded[reach..reach + row.len()].copy_from_slice(row);
        padded[reach + row.len()..].fill(row[row.len() - 1]);
        match filter.radius {
            0 => box_of_one(padded, filter, row),
            1 => box_of_three(padded, filter, row),
            _ => running_box(padded, filter, row),
        }
    }
}

/// The sum of the values at one place of several rows.
macro_rules! sum {
    ($x:expr, $($row:expr),+) => { 0 $(+ u32::from($row[$x]))+ };
}

#[inline(always)]
fn box_of_one(padded: &[u8], filter: ExtendedBox, out: &mut [u8]) {
    let n = out.len();
    let (a, b, c) = (&padded[..n], &padded[1..][..n], &padded[2..][..n]);
    for (x, value) in out.iter_mut().enumerate() {
        *value = filter.value(sum!(x, b), sum!(x, a, c));
    }
}

#[inline(always)]
fn box_of_three(padded: &[u8], filter: ExtendedBox, out: &mut [u8]) {
    let n = out.len();
    let (a, b, c) = (&padded[..n], &padded[1..][..n], &padded[2..][..n]);
    let (d, e) = (&padded[3..][..n], &padded[4..][..n]);
    for (x, value) in out.iter_mut().enumerate() {
        *value = filter.value(sum!(x, b, c, d), sum!(x, a, e));
    }
}

/// Any radius: the sum under the whole taps moves along.
#[inline(always)]
fn running_box(padded: &[u8], filter: ExtendedBox, out: &mut [u8]) {
    let last = 2 * filter.reach();
    let mut sum: u32 = padded[1..last].iter().map(|&value| u32::from(value)).sum();
    for (x, value) in out.iter_mut().enumerate() {
        *value = filter.value(sum, sum!(x, padded) + sum!(x + last, padded));
        sum = sum + u32::from(padded[x + last]) - u32::from(padded[x + 1]);
    }
}

/// One pass along the columns of a plane, all columns side by side.
#[apply(vectorized)]
fn blur_columns(plane: &mut [u8], width: usize, filter: ExtendedBox, scratch: &mut BlurScratch) {
    let BlurScratch { plane: source, sums, .. } = scratch;
    let last_row = plane.len() / width - 1;
    source.resize(plane.len(), 0);
    source.copy_from_slice(plane);
    // Rows from `reach` above the picture; those outside repeat its edge.
    let reach = filter.reach();
    let row = |y: usize| {
        let y = y.saturating_sub(reach).min(last_row);
        &source[y * width..][..width]
    };
    sums.clear();
    sums.resize(width, 0);
    for y in 1..2 * reach {
        for (sum, &value) in sums.iter_mut().zip(row(y)) {
            *sum += u32::from(value);
        }
    }
    for (y, out) in plane.chunks_exact_mut(width).enumerate() {
        let (above, leaving, below) = (row(y), row(y + 1), row(y + 2 * reach));
        let sums = &mut sums[..width];
        for x in 0..width {
            out[x] = filter.value(sums[x], sum!(x, above, below));
            sums[x] = sums[x] + u32::from(below[x]) - u32::from(leaving[x]);
        }
    }
}
