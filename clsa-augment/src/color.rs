//! Blends, and operations that mix the channels of a pixel.

use macro_rules_attribute::apply;

use crate::planes::Planes;
use crate::vectorized::vectorized;

/// `Image.blend` of two values: between them for `alpha` in [0, 1], beyond them otherwise, truncated and clipped.
#[inline(always)]
pub(crate) fn blend(from: u8, to: u8, alpha: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    truncate((from + alpha * (to - from)).clamp(0.0, 255.0))
}

/// The whole part of a number from 0 to 255, taken from the last bits of a sum whose unit in the last place is 1:
/// unlike `as u8`, which also has to think of numbers outside, this becomes vector code.
#[inline(always)]
pub(crate) fn truncate(value: f32) -> u8 {
    (value.floor() + 8_388_608.0).to_bits() as u8
}

/// Pillow's `convert("L")`: ITU-R 601-2 luma in 16-bit fixed point.
#[inline(always)]
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// torchvision `to_grayscale(3)`.
#[apply(vectorized)]
pub(crate) fn grayscale(image: &mut Planes) {
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let gray = luma(*r, *g, *b);
        (*r, *g, *b) = (gray, gray, gray);
    }
}

/// `ImageEnhance.Color`: a blend of the image's gray form with the image.
#[apply(vectorized)]
pub(crate) fn saturation(image: &mut Planes, factor: f64) {
    let alpha = factor as f32;
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let gray = luma(*r, *g, *b);
        *r = blend(gray, *r, alpha);
        *g = blend(gray, *g, alpha);
        *b = blend(gray, *b, alpha);
    }
}

/// Blends every value with `from`: `ImageEnhance.Brightness` and, with the mean luma, `ImageEnhance.Contrast`.
#[apply(vectorized)]
pub(crate) fn blend_from(image: &mut Planes, from: u8, alpha: f32) {
    for value in image.data_mut() {
        *value = blend(from, *value, alpha);
    }
}

/// The mean luma as `ImageEnhance.Contrast` rounds it.
pub(crate) fn mean_luma(image: &Planes) -> u8 {
    let [r, g, b] = image.rgb();
    // Runs of 4096 keep the inner sum in 32 bits.
    let runs = r.chunks(4096).zip(g.chunks(4096)).zip(b.chunks(4096));
    let sum: u64 = runs.map(|((r, g), b)| u64::from(sum_luma(r, g, b))).sum();
    (sum as f64 / r.len() as f64 + 0.5) as u8
}

#[apply(vectorized)]
fn sum_luma(r: &[u8], g: &[u8], b: &[u8]) -> u32 {
    r.iter().zip(g).zip(b).map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum()
}
