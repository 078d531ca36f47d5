use multiversion::multiversion;

use crate::color::blend;
use crate::planes::Planes;

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

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2"))]
fn sharpen_row(rows: [&[u8]; 3], alpha: f32, out: &mut [u8]) {
    let n = out.len() - 2;
    let [above, here, below] = rows;
    let (a, b, c) = (&above[..n], &above[1..][..n], &above[2..][..n]);
    let (d, e, f) = (&here[..n], &here[1..][..n], &here[2..][..n]);
    let (g, h, i) = (&below[..n], &below[1..][..n], &below[2..][..n]);
    for (x, value) in out[1..][..n].iter_mut().enumerate() {
        let [a, b, c, d, e, f, g, h, i] = [a, b, c, d, e, f, g, h, i].map(|row| u32::from(row[x]));
        let weighted = a + b + c + d + 5 * e + f + g + h + i;
        // (2·weighted + 13) / 26, the sum over 13 rounded, as a multiplication.
        let smooth = ((2 * weighted + 13) * 161_320) >> 22;
        *value = blend(smooth as u8, e as u8, alpha);
    }
}
