//! `ImageEnhance.Sharpness`: a 3 x 3 smoothing, blended with the image.

use macro_rules_attribute::apply;

use crate::color::blend;
use crate::planes::Planes;
use crate::vectorized::vectorized;

/// `ImageEnhance.Sharpness`: a blend of the image smoothed by `ImageFilter.SMOOTH` with the image.
///
/// The kernel is 1 around 5, over 13. Pillow sums in single precision, but 13 is odd, so that no sum comes near a
/// rounding boundary and whole numbers give the same bytes. Pixels on the edge are copied.
pub(crate) fn sharpness(image: &Planes, factor: f64, out: &mut Planes) {
    let (width, height) = (image.width(), image.height());
    out.reshape(width, height);
    out.data_mut().copy_from_slice(image.data());
    if width < 3 || height < 3 {
        return;
    }
    let alpha = factor as f32;
    for (source, target) in image.rgb().into_iter().zip(out.rgb_mut()) {
        for y in 1..height - 1 {
            let row = |y: usize| &source[y * width..][..width];
            sharpen_row([row(y - 1), row(y), row(y + 1)], alpha, &mut target[y * width..][..width]);
        }
    }
}

#[apply(vectorized)]
fn sharpen_row(rows: [&[u8]; 3], alpha: f32, out: &mut [u8]) {
    let n = out.len() - 2;
    let [above, here, below] = rows.map(|row| [&row[..n], &row[1..][..n], &row[2..][..n]]);
    for (x, value) in out[1..][..n].iter_mut().enumerate() {
        let sum = |row: [&[u8]; 3]| u16::from(row[0][x]) + u16::from(row[1][x]) + u16::from(row[2][x]);
        let center = here[1][x];
        let weighted = u32::from(sum(above) + sum(here) + sum(below) + 4 * u16::from(center));
        // (2·weighted + 13) / 26, the sum over 13 rounded, as a multiplication.
        let smooth = ((2 * weighted + 13) * 161_320) >> 22;
        *value = blend(smooth as u8, center, alpha);
    }
}
