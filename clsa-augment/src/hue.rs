//! torchvision's `adjust_hue`: Pillow's conversions to HSV and back, 128 pixels at a time.

use macro_rules_attribute::apply;

use crate::color::truncate;
use crate::planes::Planes;
use crate::vectorized::vectorized;

/// torchvision `adjust_hue` on a Pillow image: to 8-bit HSV, the hue turned with wrapping, and back.
pub(crate) fn hue(image: &mut Planes, turn: f64) {
    let shift = (turn * 255.0) as i32 as u8;
    let [r, g, b] = image.rgb_mut().map(|plane| plane.as_chunks_mut::<BLOCK>());
    for ((r, g), b) in r.0.iter_mut().zip(g.0).zip(b.0) {
        turn_hue(r, g, b, shift);
    }
    let mut rest = [[0; BLOCK]; 3];
    let ends = [r.1, g.1, b.1];
    for (block, end) in rest.iter_mut().zip(&ends) {
        block[..end.len()].copy_from_slice(end);
    }
    let [r, g, b] = &mut rest;
    turn_hue(r, g, b, shift);
    for (block, end) in rest.iter().zip(ends) {
        end.copy_from_slice(&block[..end.len()]);
    }
}

/// Pixels whose hue is turned together; their intermediate values stay in the first-level cache.
const BLOCK: usize = 128;

/// Pillow's RGB to HSV, the turn, and HSV to RGB.
///
/// Saturation and the conversion back are exact in whole numbers: Pillow's floating-point results never come near enough to
/// a rounding boundary to fall on the other side. The hue can, so Pillow's mix of single and double precision is
/// reproduced exactly. (The tests go through every color.)
#[apply(vectorized)]
fn turn_hue(r: &mut [u8; BLOCK], g: &mut [u8; BLOCK], b: &mut [u8; BLOCK], shift: u8) {
    // The hue in sixths of the circle, from -1 to 5; NaN for gray.
    let mut sixths = [0.0_f32; BLOCK];
    for i in 0..BLOCK {
        let [r, g, b] = [r[i], g[i], b[i]].map(i32::from);
        let (max, min) = (r.max(g).max(b), r.min(g).min(b));
        let middle = r + g + b - max - min;
        let x = (max - middle) as f32 / (max - min) as f32;
        let red = if b <= g { 1.0 - x } else { x - 1.0 };
        let green = if b <= r { 1.0 + x } else { 3.0 - x };
        let blue = if r <= g { 3.0 + x } else { 5.0 - x };
        sixths[i] = if r == max {
            red
        } else if g == max {
            green
        } else {
            blue
        };
    }
    let mut hue = [0_u8; BLOCK];
    for (hue, &sixths) in hue.iter_mut().zip(&sixths) {
        let turns = f64::from(sixths) / 6.0 + 1.0;
        let turns = if turns >= 1.0 { turns - 1.0 } else { turns };
        *hue = truncate((f64::from(turns as f32) * 255.0).floor() as f32);
    }
    for i in 0..BLOCK {
        let [red, green, blue] = [r[i], g[i], b[i]].map(u32::from);
        let (max, min) = (red.max(green).max(blue), red.min(green).min(blue));
        let saturation = u32::from(truncate((255 * (max - min)) as f32 / max as f32));
        // Sector (0 to 6) and place in it (0 to 84).
        let double = 2 * u32::from(hue[i].wrapping_add(shift));
        let sector = (double * 772) >> 16;
        let place = double - 85 * sector;
        let slope = if sector & 1 == 1 { place } else { 85 - place };
        let low = divide_by_255(max * (255 - saturation)) as u8;
        let middle = truncate((max * (255 * 85 - saturation * slope)) as f32 * (1.0 / (255.0 * 85.0)) + 0.5);
        let high = max as u8;
        let sector = sector as u8;
        r[i] = match sector {
            2 | 3 => low,
            1 | 4 => middle,
            _ => high,
        };
        g[i] = match sector {
            4 | 5 => low,
            1 | 2 => high,
            _ => middle,
        };
        b[i] = match sector {
            2 | 5 => middle,
            3 | 4 => high,
            _ => low,
        };
    }
}

/// The quotient rounded to nearest, for values up to 255².
#[inline(always)]
fn divide_by_255(value: u32) -> u32 {
    let value = value + 128;
    (value + (value >> 8)) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pillow's `convert("HSV")` of a pixel, in its mixture of precisions.
    fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
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
    fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
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

    #[test]
    fn the_turned_hue_of_every_color_is_pillows() {
        for shift in [0, 25, 230] {
            for r in 0..=255 {
                for g in 0..=255 {
                    for half in [0, 128] {
                        let blue: [u8; BLOCK] = std::array::from_fn(|i| i as u8 + half);
                        let mut turned = [[r; BLOCK], [g; BLOCK], blue];
                        let [out_r, out_g, out_b] = &mut turned;
                        turn_hue(out_r, out_g, out_b, shift);
                        for (i, &b) in blue.iter().enumerate() {
                            let [h, s, v] = rgb_to_hsv([r, g, b]);
                            let expected = hsv_to_rgb([h.wrapping_add(shift), s, v]);
                            assert_eq!(turned.map(|plane| plane[i]), expected, "{:?} by {shift}", [r, g, b]);
                        }
                    }
                }
            }
        }
    }
}
