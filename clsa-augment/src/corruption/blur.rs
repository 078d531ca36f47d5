//! Blurs: out of focus, normal, of motion.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use super::taps::{filter_image, streak, taps};
use crate::blur::{BlurScratch, gaussian_blur};
use crate::planes::Planes;
use crate::random::uniform;

/// Radius of the disc in pixels. At 224 ImageNet-C's; at 32 ours: the discs whose variance is that of CIFAR-10-C's kernels, which
/// are discs of few whole pixels, blurred.
const DISC: Severities = Severities { at_32: [0.60, 0.74, 0.90, 1.02, 1.60], at_224: [3.0, 4.0, 6.0, 8.0, 10.0] };

/// Standard deviation in pixels (CIFAR-10-C, ImageNet-C).
const DEVIATION: Severities = Severities { at_32: [0.4, 0.6, 0.7, 0.8, 1.0], at_224: [1.0, 2.0, 3.0, 4.0, 6.0] };

/// Length of the streak in pixels (CIFAR-10-C, ImageNet-C).
const STREAK: Severities = Severities { at_32: [6.0, 6.0, 6.0, 8.0, 9.0], at_224: [10.0, 15.0, 15.0, 15.0, 20.0] };

/// Standard deviation of the streak's curve in pixels (CIFAR-10-C, ImageNet-C; the fourth at 32 is ours, where CIFAR-10-C has the
/// third again).
const STREAK_DEVIATION: Severities =
    Severities { at_32: [1.0, 1.5, 2.0, 2.25, 2.5], at_224: [3.0, 5.0, 8.0, 12.0, 15.0] };

/// Parts of a pixel's side by which the disc's share of it is counted.
const PARTS: isize = 16;

pub(super) fn defocus(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    let radius = strength.length(&DISC);
    let reach = (radius + 0.5) as isize;
    let places = (-reach..=reach).flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)));
    let parts: Vec<(isize, isize, f64)> =
        places.map(|(dx, dy)| (dx, dy, f64::from(parts_in_disc(dx, dy, radius)))).collect();
    // Of an image of a pixel or two the disc may be smaller than a part: nothing is out of focus.
    if parts.iter().any(|(_, _, parts)| *parts > 0.0) {
        filter_image(image, &taps(parts.into_iter()));
    }
}

/// How many of a pixel's parts have their middle in the disc around the origin.
fn parts_in_disc(dx: isize, dy: isize, radius: f64) -> u32 {
    let middle = |pixel: isize, part: isize| pixel as f64 + ((2 * part + 1) as f64 / (2 * PARTS) as f64 - 0.5);
    let is_in = |i, j| middle(dx, i).powi(2) + middle(dy, j).powi(2) <= radius * radius;
    (0..PARTS).map(|j| (0..PARTS).filter(|&i| is_in(i, j)).count() as u32).sum()
}

pub(super) fn gaussian(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    gaussian_blur(image, strength.length(&DEVIATION), &mut BlurScratch::default());
}

pub(super) fn motion(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let angle = uniform(-45.0, 45.0, rng).to_radians();
    filter_image(image, &streak(strength.length(&STREAK), strength.length(&STREAK_DEVIATION), angle));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disc_has_its_area() {
        for radius in [0.6, 1.6, 10.0] {
            let parts: u32 = (-11..=11).flat_map(|y| (-11..=11).map(move |x| parts_in_disc(x, y, radius))).sum();
            let area = f64::from(parts) / (PARTS * PARTS) as f64;
            assert!((area / (std::f64::consts::PI * radius * radius) - 1.0).abs() < 0.02, "radius {radius}: {area}");
        }
        assert_eq!(parts_in_disc(0, 0, 1.6), 256);
        assert_eq!(parts_in_disc(2, 2, 1.6), 0);
    }
}
