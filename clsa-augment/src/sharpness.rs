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
            let row = |y: usize| &source[y * width..(y + 1) * width];
            let (above, here, below) = (row(y - 1), row(y), row(y + 1));
            let windows = above.windows(3).zip(here.windows(3)).zip(below.windows(3));
            for (out, ((a, h), b)) in target[y * width + 1..(y + 1) * width - 1].iter_mut().zip(windows) {
                let sum = |w: &[u8]| u32::from(w[0]) + u32::from(w[1]) + u32::from(w[2]);
                let weighted = sum(a) + sum(h) + sum(b) + 4 * u32::from(h[1]);
                let smooth = (2 * weighted + 13) / 26;
                *out = blend(smooth as u8, h[1], alpha);
            }
        }
    }
}
