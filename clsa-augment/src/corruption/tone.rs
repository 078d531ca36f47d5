//! Brightness and contrast.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use crate::lookup::table;
use crate::planes::Planes;

/// What is added to the value of HSV, where 1 is white (CIFAR-10-C, ImageNet-C).
const ADDED: Severities = Severities { at_32: [0.05, 0.1, 0.15, 0.2, 0.3], at_224: [0.1, 0.2, 0.3, 0.4, 0.5] };

/// What is kept of a value's distance from the mean (CIFAR-10-C, ImageNet-C).
const KEPT: Severities = Severities { at_32: [0.75, 0.5, 0.4, 0.3, 0.15], at_224: [0.4, 0.3, 0.2, 0.1, 0.05] };

/// The value of HSV is the largest channel; hue and saturation stay where all channels grow by the same factor.
pub(super) fn brightness(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    let added = 255.0 * strength.value(&ADDED) as f32;
    let [r, g, b] = image.rgb_mut();
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let value = f32::from((*r).max(*g).max(*b));
        let brighter = (value + added).min(255.0);
        for channel in [r, g, b] {
            // Black has no hue: it becomes gray.
            let share = if value > 0.0 { f32::from(*channel) / value } else { 1.0 };
            *channel = (share * brighter).round() as u8;
        }
    }
}

pub(super) fn contrast(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    let kept = strength.value(&KEPT);
    for plane in image.rgb_mut() {
        let mean = plane.iter().map(|&value| u64::from(value)).sum::<u64>() as f64 / plane.len() as f64;
        let becomes = table(|value| (mean + kept * (f64::from(value) - mean)).round() as u8);
        for value in plane {
            *value = becomes[usize::from(*value)];
        }
    }
}
