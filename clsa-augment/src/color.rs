//! Operations that mix the channels of a pixel.

use crate::planes::Planes;

/// `Image.blend` of two values: between them for `alpha` in [0, 1], beyond them otherwise, truncated and clipped.
#[inline(always)]
pub(crate) fn blend(from: u8, to: u8, alpha: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    (from + alpha * (to - from)) as u8
}

/// Pillow's `convert("L")`: ITU-R 601-2 luma in 16-bit fixed point.
#[inline(always)]
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// torchvision `to_grayscale(3)`.
pub(crate) fn grayscale(image: &mut Planes) {
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let grey = luma(*r, *g, *b);
        (*r, *g, *b) = (grey, grey, grey);
    }
}

/// `ImageEnhance.Color`: a blend of the image's grey form with the image.
pub(crate) fn saturation(image: &mut Planes, factor: f64) {
    let alpha = factor as f32;
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let grey = luma(*r, *g, *b);
        *r = blend(grey, *r, alpha);
        *g = blend(grey, *g, alpha);
        *b = blend(grey, *b, alpha);
    }
}

/// torchvision `adjust_hue` on a Pillow image: to 8-bit HSV, the hue turned with wrapping, and back.
pub(crate) fn hue(image: &mut Planes, turn: f64) {
    let shift = (turn * 255.0) as i32 as u8;
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let [h, s, v] = rgb_to_hsv([*r, *g, *b]);
        [*r, *g, *b] = hsv_to_rgb([h.wrapping_add(shift), s, v]);
    }
}

/// Pillow's `convert("HSV")`, with its mixture of single and double precision.
pub(crate) fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let chroma = f32::from(max - min);
    let part = |value: u8| f32::from(max - value) / chroma;
    let (rc, gc, bc) = (part(r), part(g), part(b));
    let sixths = if r == max {
        bc - gc
    } else if g == max {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = (f64::from(sixths) / 6.0 + 1.0).rem_euclid(1.0) as f32;
    let saturation = chroma / f32::from(max);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// Pillow's `convert("RGB")` of an HSV pixel.
pub(crate) fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sixths = f64::from(h) * 6.0 / 255.0;
    let sector = sixths.floor();
    let fraction = (sixths - sector) as f32;
    let saturation = (f64::from(s) / 255.0) as f32;
    let value = f64::from(v);
    let p = (value * (1.0 - f64::from(saturation))).round() as u8;
    let q = (value * (1.0 - f64::from(saturation * fraction))).round() as u8;
    let t = (value * (1.0 - f64::from(saturation) * (1.0 - f64::from(fraction)))).round() as u8;
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
