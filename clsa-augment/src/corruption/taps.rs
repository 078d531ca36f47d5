//! Filters that are a list of taps: each a place beside the pixel, and how much of it is taken.

use macro_rules_attribute::apply;

use crate::planes::Planes;
use crate::vectorized::vectorized;

/// A place beside a pixel, and its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub dx: isize,
    pub dy: isize,
    pub weight: f32,
}

/// Taps whose weights are in the proportion of `weights`, and together 1; those of weight 0 are left out.
pub(super) fn taps(weights: impl Iterator<Item = (isize, isize, f64)>) -> Vec<Tap> {
    let weights: Vec<_> = weights.filter(|(.., weight)| *weight > 0.0).collect();
    let sum: f64 = weights.iter().map(|(.., weight)| weight).sum();
    weights.into_iter().map(|(dx, dy, weight)| Tap { dx, dy, weight: (weight / sum) as f32 }).collect()
}

/// A streak from the pixel on in the direction of `angle` (radians): half of a normal curve of the standard deviation `sigma`, cut
/// off at `radius`; both in pixels (ImageMagick's `-motion-blur`, which takes the nearest pixel for each step, too).
pub(super) fn streak(radius: f64, sigma: f64, angle: f64) -> Vec<Tap> {
    let (sin, cos) = angle.sin_cos();
    taps((0..=radius.round() as isize).map(|step| {
        let distance = step as f64;
        let weight = (-0.5 * (distance / sigma).powi(2)).exp();
        ((distance * cos).round() as isize, (distance * sin).round() as isize, weight)
    }))
}

/// Filters all channels; the picture's edges are repeated outside it.
pub(super) fn filter_image(image: &mut Planes, taps: &[Tap]) {
    let width = image.width();
    for plane in image.rgb_mut() {
        let values: Vec<f32> = plane.iter().map(|&value| f32::from(value)).collect();
        for (value, filtered) in plane.iter_mut().zip(filter(&values, width, taps)) {
            *value = filtered.round() as u8;
        }
    }
}

/// Filters a plane of rows of `width` values; its edges are repeated outside it.
pub(super) fn filter(plane: &[f32], width: usize, taps: &[Tap]) -> Vec<f32> {
    let reach = taps.iter().map(|tap| tap.dx.unsigned_abs()).max().unwrap_or(0);
    let padded_width = width + 2 * reach;
    let mut padded = Vec::with_capacity(plane.len() / width * padded_width);
    for row in plane.chunks_exact(width) {
        padded.extend(std::iter::repeat_n(row[0], reach));
        padded.extend_from_slice(row);
        padded.extend(std::iter::repeat_n(row[width - 1], reach));
    }
    let last = plane.len() / width - 1;
    let mut filtered = vec![0.0; plane.len()];
    for (y, out) in filtered.chunks_exact_mut(width).enumerate() {
        for tap in taps {
            let row = y.saturating_add_signed(tap.dy).min(last);
            let start = row * padded_width + reach.saturating_add_signed(tap.dx);
            add(out, &padded[start..][..width], tap.weight);
        }
    }
    filtered
}

#[apply(vectorized)]
fn add(sums: &mut [f32], row: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_takes_the_value_beside_and_edges_are_repeated() {
        let plane = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let from = |dx, dy| filter(&plane, 3, &[Tap { dx, dy, weight: 1.0 }]);
        assert_eq!(from(1, 0), [2.0, 3.0, 3.0, 5.0, 6.0, 6.0]);
        assert_eq!(from(-2, 1), [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]);
        assert_eq!(from(0, -5), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_streak_goes_in_its_direction_with_the_weights_of_half_a_normal_curve() {
        let level = streak(2.0, 1.0, 0.0);
        assert_eq!(level.iter().map(|tap| (tap.dx, tap.dy)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0)]);
        // 1, exp(-1/2) and exp(-2) over their sum.
        let weights: Vec<f32> = level.iter().map(|tap| (1000.0 * tap.weight).round()).collect();
        assert_eq!(weights, [574.0, 348.0, 78.0]);
        let upright = streak(2.0, 1.0, std::f64::consts::FRAC_PI_2);
        assert_eq!(upright.iter().map(|tap| (tap.dx, tap.dy)).collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2)]);
    }
}
