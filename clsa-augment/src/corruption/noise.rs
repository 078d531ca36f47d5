//! Noise: normal, of photons, of broken bits.

use rand::RngExt;
use rand_distr::{Distribution, Poisson, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use crate::planes::Planes;

/// Standard deviation, where 1 is white (CIFAR-10-C, ImageNet-C).
const DEVIATION: Severities =
    Severities { at_32: [0.04, 0.06, 0.08, 0.09, 0.10], at_224: [0.08, 0.12, 0.18, 0.26, 0.38] };

/// Photons of white (CIFAR-10-C, ImageNet-C).
const PHOTONS: Severities =
    Severities { at_32: [500.0, 250.0, 100.0, 75.0, 50.0], at_224: [60.0, 25.0, 12.0, 5.0, 3.0] };

/// Share of the values that are replaced (CIFAR-10-C, ImageNet-C).
const REPLACED: Severities =
    Severities { at_32: [0.01, 0.02, 0.03, 0.05, 0.07], at_224: [0.03, 0.06, 0.09, 0.17, 0.27] };

pub(super) fn gaussian(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let deviation = 255.0 * strength.value(&DEVIATION);
    for value in image.data_mut() {
        let normal: f64 = StandardNormal.sample(rng);
        *value = byte(f64::from(*value) + deviation * normal);
    }
}

pub(super) fn shot(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let photons = strength.value(&PHOTONS) / 255.0;
    // Black has no photons, and such a distribution is refused.
    let of_value: Vec<Option<Poisson<f64>>> =
        (0..256).map(|value| Poisson::new(photons * f64::from(value)).ok()).collect();
    for value in image.data_mut() {
        *value = of_value[usize::from(*value)].map_or(0, |poisson| byte(poisson.sample(rng) / photons));
    }
}

pub(super) fn impulse(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let replaced = strength.value(&REPLACED);
    for value in image.data_mut() {
        let (drawn, is_white): (f64, bool) = (rng.random(), rng.random());
        if drawn < replaced {
            *value = if is_white { 255 } else { 0 };
        }
    }
}

/// The nearest byte.
fn byte(value: f64) -> u8 {
    value.round() as u8
}
