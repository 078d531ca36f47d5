//! From a structure to an image: everything that is not the class.

use std::f32::consts::TAU;

use image::{Rgb, RgbImage};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::placed::Placed;
use super::structure::Structure;
use crate::random::uniform;

type Color = [f32; 3];

/// Vertices of a lattice of colors along one side of the image.
const LATTICE: usize = 5;

/// Strength of colors.
const TINT: f32 = 80.0;

/// A color of brightness 0 whose channels are within about `strength` of it.
fn tint(strength: f32, generator: &mut Xoshiro256PlusPlus) -> Color {
    let [r, g, b]: Color = std::array::from_fn(|_| strength * (2.0 * uniform(generator) - 1.0));
    let brightness = 0.299 * r + 0.587 * g + 0.114 * b;
    [r - brightness, g - brightness, b - brightness]
}

/// A surface whose color changes from place to place, as much within an image as between images: what two crops of
/// an image have in common is its structure, not its color.
struct Surface {
    colors: [[Color; LATTICE]; LATTICE],
    /// Amplitude of white noise.
    grain: f32,
}

impl Surface {
    /// A surface of brightness `level`, give or take `variation`.
    fn draw(level: f32, variation: f32, generator: &mut Xoshiro256PlusPlus) -> Self {
        let colors = std::array::from_fn(|_| {
            std::array::from_fn(|_| {
                let level = level + variation * (2.0 * uniform(generator) - 1.0);
                tint(TINT, generator).map(|channel| channel + level)
            })
        });
        Self { colors, grain: 12.0 * uniform(generator) }
    }

    /// The color at a point of the image (coordinates in -0.5..0.5); `noise` is in -1..1.
    fn color(&self, x: f32, y: f32, noise: f32) -> Color {
        let cells = (LATTICE - 1) as f32;
        let place = |t: f32| {
            let t = (t + 0.5) * cells;
            let cell = (t as usize).min(LATTICE - 2);
            (cell, t - cell as f32)
        };
        let ((column, fx), (row, fy)) = (place(x), place(y));
        let (top, bottom) = (&self.colors[row], &self.colors[row + 1]);
        std::array::from_fn(|channel| {
            let upper = top[column][channel] + fx * (top[column + 1][channel] - top[column][channel]);
            let lower = bottom[column][channel] + fx * (bottom[column + 1][channel] - bottom[column][channel]);
            upper + fy * (lower - upper) + self.grain * noise
        })
    }
}

/// Something in front of the image: a disc, or a bar where it is stretched.
struct Clutter {
    color: Color,
    x: f32,
    y: f32,
    cos: f32,
    sin: f32,
    long: f32,
    short: f32,
}

impl Clutter {
    fn draw(generator: &mut Xoshiro256PlusPlus) -> Self {
        let level = 60.0 + 135.0 * uniform(generator);
        let color = tint(TINT, generator).map(|channel| channel + level);
        let mut between = |low: f32, high: f32| low + (high - low) * uniform(generator);
        let (sin, cos) = between(0.0, TAU).sin_cos();
        Self {
            color,
            x: between(-0.5, 0.5),
            y: between(-0.5, 0.5),
            cos,
            sin,
            long: between(0.06, 0.25),
            short: between(0.02, 0.07),
        }
    }

    /// How much of a pixel it covers.
    fn coverage(&self, x: f32, y: f32, side: f32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        let u = (self.cos * dx + self.sin * dy) / self.long;
        let v = (-self.sin * dx + self.cos * dy) / self.short;
        (0.5 + (1.0 - u.hypot(v)) * self.short * side).clamp(0.0, 1.0)
    }
}

/// Draws an image of `structure` with `side` x `side` pixels.
pub(super) fn paint(structure: Structure, side: u32, generator: &mut Xoshiro256PlusPlus) -> RgbImage {
    let placed = Placed::draw(structure, generator);
    let contrast = 35.0 + 20.0 * uniform(generator);
    let sign = if uniform(generator) < 0.5 { -1.0 } else { 1.0 };
    let level = 118.0 + 20.0 * uniform(generator);
    let figure = Surface::draw(level + sign * contrast, 15.0, generator);
    let ground = Surface::draw(level - sign * contrast, 15.0, generator);
    let clutter: Vec<Clutter> = (0..generator.next_u64() % 4).map(|_| Clutter::draw(generator)).collect();
    let scale = side as f32;
    let mut image = RgbImage::new(side, side);
    for (column, row, pixel) in image.enumerate_pixels_mut() {
        let x = (column as f32 + 0.5) / scale - 0.5;
        let y = (row as f32 + 0.5) / scale - 0.5;
        let noise = 2.0 * uniform(generator) - 1.0;
        let cover = (0.5 + placed.distance(x, y) * scale).clamp(0.0, 1.0);
        let (front, back) = (figure.color(x, y, noise), ground.color(x, y, noise));
        let mut value: Color = std::array::from_fn(|channel| back[channel] + cover * (front[channel] - back[channel]));
        for piece in &clutter {
            let cover = piece.coverage(x, y, scale);
            for (channel, value) in value.iter_mut().enumerate() {
                *value += cover * (piece.color[channel] - *value);
            }
        }
        *pixel = Rgb(value.map(|value| value.round().clamp(0.0, 255.0) as u8));
    }
    image
}
