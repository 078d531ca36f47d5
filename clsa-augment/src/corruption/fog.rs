//! Fog: a cloud that is added to the picture.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use crate::planes::Planes;
use crate::random::uniform;

/// How much of the cloud is added (CIFAR-10-C, ImageNet-C).
const THICKNESS: Severities = Severities { at_32: [0.2, 0.5, 0.75, 1.0, 1.5], at_224: [1.5, 2.0, 2.5, 2.5, 3.0] };

/// By what the square root of the height of midpoints is divided from one scale to the next: the smaller, the rougher the cloud
/// (CIFAR-10-C, ImageNet-C).
const DECAY: Severities = Severities { at_32: [3.0, 3.0, 2.5, 2.0, 1.75], at_224: [2.0, 2.0, 1.7, 1.5, 1.4] };

/// Adds a cloud of heights from 0 to 1, and scales so that the brightest value of the picture would stay under the densest cloud.
pub(super) fn fog(image: &mut Planes, strength: Strength, rng: &mut Xoshiro256PlusPlus) {
    let (thickness, decay) = (strength.value(&THICKNESS) as f32, strength.value(&DECAY) as f32);
    let side = (strength.side as usize).next_power_of_two().max(2);
    let cloud = cloud(side, decay, rng);
    let brightest = image.data().iter().copied().max().unwrap_or(0);
    let most = f32::from(brightest) / 255.0;
    let scale = most / (most + thickness);
    let width = image.width();
    for plane in image.rgb_mut() {
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                // The cloud has no seams, so that it can be repeated along the longer side.
                let added = 255.0 * thickness * cloud[y % side * side + x % side];
                *value = (scale * (f32::from(*value) + added)).round() as u8;
            }
        }
    }
}

/// Heights from 0 to 1 of a square of `side` (a power of two, at least 2) by the diamond-square algorithm, without seams: each
/// midpoint is the mean of its four neighbors, moved by a drawn height that shrinks from scale to scale.
fn cloud(side: usize, decay: f32, rng: &mut Xoshiro256PlusPlus) -> Vec<f32> {
    let mut heights = vec![0.0_f32; side * side];
    let at = |x: usize, y: usize| y % side * side + x % side;
    let (mut step, mut most) = (side, 1.0);
    while step >= 2 {
        let half = step / 2;
        let mut moved = |mean: f32| mean + most * uniform(-1.0, 1.0, rng) as f32;
        for y in (0..side).step_by(step) {
            for x in (0..side).step_by(step) {
                let corners = [at(x, y), at(x + step, y), at(x, y + step), at(x + step, y + step)];
                let mean = corners.iter().map(|corner| heights[*corner]).sum::<f32>() / 4.0;
                heights[at(x + half, y + half)] = moved(mean);
            }
        }
        for y in (0..side).step_by(half) {
            for x in ((y + half) % step..side).step_by(step) {
                let around = [at(x + side - half, y), at(x + half, y), at(x, y + side - half), at(x, y + half)];
                let mean = around.iter().map(|neighbor| heights[*neighbor]).sum::<f32>() / 4.0;
                heights[at(x, y)] = moved(mean);
            }
        }
        step = half;
        most /= decay * decay;
    }
    let (low, high) = heights.iter().fold((f32::MAX, f32::MIN), |(low, high), &h| (low.min(h), high.max(h)));
    // Heights are drawn, so that they differ; equal ones would be a cloud of no height.
    let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
    heights.iter().map(|height| (height - low) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_cloud_fills_the_range_is_smooth_and_has_no_seam() {
        for side in [2, 64] {
            let cloud = cloud(side, 2.0, &mut Xoshiro256PlusPlus::seed_from_u64(3));
            let (low, high) = cloud.iter().fold((f32::MAX, f32::MIN), |(low, high), &h| (low.min(h), high.max(h)));
            assert!((low, high) == (0.0, 1.0), "{low} to {high}");
        }
        let cloud = cloud(64, 2.0, &mut Xoshiro256PlusPlus::seed_from_u64(3));
        let step =
            |a: usize, b: usize| (0..64).map(|y| (cloud[64 * y + a] - cloud[64 * y + b]).abs()).sum::<f32>() / 64.0;
        let inside = (0..63).map(|x| step(x, x + 1)).sum::<f32>() / 63.0;
        assert!(inside < 0.1 && step(63, 0) < 2.0 * inside, "{inside} inside, {} at the seam", step(63, 0));
    }
}
