//! Pixelation: cells of one color each.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use crate::planes::Planes;

/// Cells along a side, by its pixels (CIFAR-10-C, ImageNet-C).
const CELLS: Severities = Severities { at_32: [0.95, 0.9, 0.85, 0.75, 0.65], at_224: [0.6, 0.5, 0.4, 0.3, 0.25] };

/// Makes the picture smaller and larger again, both by Pillow's `BOX`: a pixel belongs to the cell in which its middle lies, and
/// becomes the mean of the cell's pixels.
pub(super) fn pixelate(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    let share = strength.value(&CELLS);
    let (width, height) = (image.width(), image.height());
    let cells = |side: usize| ((side as f64 * share) as usize).max(1);
    let (across, down) = (cells(width), cells(height));
    let column: Vec<usize> = (0..width).map(|x| (2 * x + 1) * across / (2 * width)).collect();
    let row: Vec<usize> = (0..height).map(|y| (2 * y + 1) * down / (2 * height)).collect();
    let cell = |place: usize| row[place / width] * across + column[place % width];
    for plane in image.rgb_mut() {
        let (mut sums, mut counts) = (vec![0_u64; across * down], vec![0_u64; across * down]);
        for (place, &value) in plane.iter().enumerate() {
            sums[cell(place)] += u64::from(value);
            counts[cell(place)] += 1;
        }
        for (place, value) in plane.iter_mut().enumerate() {
            let (sum, count) = (sums[cell(place)], counts[cell(place)]);
            *value = ((2 * sum + count) / (2 * count)) as u8;
        }
    }
}
