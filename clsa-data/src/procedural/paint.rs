//! From a structure to an image: everything that is not the class.

use std::f32::consts::TAU;

use image::{Rgb, RgbImage};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::structure::{Placed, Structure};

/// Uniform in 0..1.
pub(super) fn uniform(generator: &mut Xoshiro256PlusPlus) -> f32 {
    (generator.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

type Colour = [f32; 3];

/// Least difference in brightness between figure and ground, of 255.
const LEAST_CONTRAST: f32 = 70.0;

fn brightness([r, g, b]: Colour) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn colour(generator: &mut Xoshiro256PlusPlus) -> Colour {
    std::array::from_fn(|_| 20.0 + 215.0 * uniform(generator))
}

/// A coloured surface: a waving, grainy or shaded variation of one colour.
struct Surface {
    colour: Colour,
    /// Amplitude, frequency vector and phase of a wave of brightness.
    wave: [f32; 4],
    /// Change of brightness over the image, along x and y.
    slope: [f32; 2],
    /// Amplitude of white noise.
    grain: f32,
}

impl Surface {
    fn draw(colour: Colour, generator: &mut Xoshiro256PlusPlus) -> Self {
        let mut between = |low: f32, high: f32| low + (high - low) * uniform(generator);
        let (sin, cos) = between(0.0, TAU).sin_cos();
        let frequency = TAU * between(0.5, 2.5);
        Self {
            colour,
            wave: [between(0.0, 16.0), frequency * cos, frequency * sin, between(0.0, TAU)],
            slope: [between(-40.0, 40.0), between(-40.0, 40.0)],
            grain: between(0.0, 14.0),
        }
    }

    /// What is added to the colour at a point; `noise` is in -1..1.
    fn shade(&self, x: f32, y: f32, noise: f32) -> f32 {
        let [amplitude, fx, fy, phase] = self.wave;
        amplitude * (fx * x + fy * y + phase).sin() + self.slope[0] * x + self.slope[1] * y + self.grain * noise
    }
}

/// Something in front of the image: a disc, or a bar where it is stretched.
struct Clutter {
    colour: Colour,
    x: f32,
    y: f32,
    cos: f32,
    sin: f32,
    long: f32,
    short: f32,
}

impl Clutter {
    fn draw(generator: &mut Xoshiro256PlusPlus) -> Self {
        let colour = colour(generator);
        let mut between = |low: f32, high: f32| low + (high - low) * uniform(generator);
        let (sin, cos) = between(0.0, TAU).sin_cos();
        Self {
            colour,
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
    let (figure, ground) = loop {
        let (figure, ground) = (colour(generator), colour(generator));
        if (brightness(figure) - brightness(ground)).abs() >= LEAST_CONTRAST {
            break (figure, ground);
        }
    };
    let figure = Surface::draw(figure, generator);
    let ground = Surface::draw(ground, generator);
    let clutter: Vec<Clutter> = (0..generator.next_u64() % 4).map(|_| Clutter::draw(generator)).collect();
    let scale = side as f32;
    let mut image = RgbImage::new(side, side);
    for (column, row, pixel) in image.enumerate_pixels_mut() {
        let x = (column as f32 + 0.5) / scale - 0.5;
        let y = (row as f32 + 0.5) / scale - 0.5;
        let noise = 2.0 * uniform(generator) - 1.0;
        let cover = (0.5 + placed.distance(x, y) * scale).clamp(0.0, 1.0);
        let (front, back) = (figure.shade(x, y, noise), ground.shade(x, y, noise));
        let mut value: Colour = std::array::from_fn(|channel| {
            cover * (figure.colour[channel] + front) + (1.0 - cover) * (ground.colour[channel] + back)
        });
        for piece in &clutter {
            let cover = piece.coverage(x, y, scale);
            for (channel, value) in value.iter_mut().enumerate() {
                *value += cover * (piece.colour[channel] - *value);
            }
        }
        *pixel = Rgb(value.map(|value| value.round().clamp(0.0, 255.0) as u8));
    }
    image
}
