//! Snow: flakes that fall across a lighter picture.

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use super::taps::{filter, streak};
use crate::color::luma;
use crate::planes::Planes;
use crate::random::uniform;

/// Share of the places with a flake. Ours, near those of CIFAR-10-C and ImageNet-C, where flakes are normal numbers above a
/// threshold and their share does not always grow with the severity.
const FLAKES: Severities =
    Severities { at_32: [0.006, 0.023, 0.06, 0.09, 0.12], at_224: [0.08, 0.12, 0.14, 0.16, 0.18] };

/// Side of a flake in pixels. Ours, of the same order.
const FLAKE: Severities = Severities { at_32: [1.0; 5], at_224: [3.0; 5] };

/// Brightness of flakes, from the faintest to the brightest. Ours.
const BRIGHTNESS: [f64; 2] = [0.6, 1.0];

/// Length of a flake's streak in pixels (CIFAR-10-C, ImageNet-C).
const STREAK: Severities = Severities { at_32: [8.0, 10.0, 10.0, 12.0, 14.0], at_224: [10.0, 12.0, 12.0, 12.0, 12.0] };

/// Standard deviation of the streak's curve in pixels (CIFAR-10-C, ImageNet-C).
const STREAK_DEVIATION: Severities =
    Severities { at_32: [3.0, 4.0, 4.0, 6.0, 12.0], at_224: [4.0, 4.0, 8.0, 8.0, 12.0] };

/// How much of the picture is kept; the rest is a picture in light gray (CIFAR-10-C, ImageNet-C; the third is ours, where both have
/// the second again).
const KEPT: Severities = Severities { at_32: [0.95, 0.9, 0.88, 0.85, 0.8], at_224: [0.8, 0.7, 0.68, 0.65, 0.55] };

pub(super) fn snow(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let (width, height) = (image.width(), image.height());
    let angle = uniform(-135.0, -45.0, rng).to_radians();
    let flakes = flakes([width, height], strength, rng);
    let streaks = filter(&flakes, width, &streak(strength.length(&STREAK), strength.length(&STREAK_DEVIATION), angle));
    let kept = strength.value(&KEPT) as f32;
    let [r, g, b] = image.rgb_mut();
    // The flakes again, turned by half, fall in front of them.
    let fallen = streaks.iter().zip(streaks.iter().rev()).map(|(one, other)| 255.0 * (one + other));
    for (((r, g), b), fallen) in r.iter_mut().zip(g).zip(b).zip(fallen) {
        let light = 1.5 * f32::from(luma(*r, *g, *b)) + 127.5;
        for value in [r, g, b] {
            let clear = f32::from(*value);
            *value = (kept * clear + (1.0 - kept) * clear.max(light) + fallen).round() as u8;
        }
    }
}

/// The brightness of the flake at each pixel, 0 where there is none.
fn flakes([width, height]: [usize; 2], strength: Strength, rng: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    let (share, side) = (strength.value(&FLAKES), strength.length(&FLAKE).max(1.0));
    let place = |pixel: usize| (pixel as f64 / side) as usize;
    let across = place(width - 1) + 1;
    let mut flake = || {
        let drawn: f64 = rng.random();
        let [faintest, brightest] = BRIGHTNESS;
        if drawn < share { (brightest + (faintest - brightest) * drawn / share) as f32 } else { 0.0 }
    };
    let places: Vec<f32> = (0..across * (place(height - 1) + 1)).map(|_| flake()).collect();
    (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| places[place(y) * across + place(x)])
        .collect()
}
