//! A structure at a place, as a signed distance to its outline.

use std::f32::consts::{PI, TAU};

use rand_xoshiro::Xoshiro256PlusPlus;

use super::structure::Structure;
use crate::random::uniform;

/// A structure that extends over the whole image.
#[derive(Clone, Copy)]
enum Field {
    Stripes,
    Checkerboard,
    Concentric,
    Sunburst,
    Spiral,
    Zigzag,
    Grid,
    Bricks,
    Honeycomb,
}

/// What is repeated by a structure of scattered figures.
#[derive(Clone, Copy)]
enum Outline {
    Disc,
    Ring,
    Cross,
    Triangle,
    Crescent,
    Star,
    Square,
}

/// The two ways to make a structure.
enum Form {
    Field(Field),
    Scattered(Outline, Vec<Figure>),
}

impl Form {
    /// The form of a structure, with its figures still to be drawn.
    fn of(structure: Structure) -> Self {
        let field = |field| Form::Field(field);
        let scattered = |outline| Form::Scattered(outline, Vec::new());
        match structure {
            Structure::Stripes => field(Field::Stripes),
            Structure::Checkerboard => field(Field::Checkerboard),
            Structure::Concentric => field(Field::Concentric),
            Structure::Sunburst => field(Field::Sunburst),
            Structure::Spiral => field(Field::Spiral),
            Structure::Zigzag => field(Field::Zigzag),
            Structure::Dots => scattered(Outline::Disc),
            Structure::Rings => scattered(Outline::Ring),
            Structure::Crosses => scattered(Outline::Cross),
            Structure::Triangles => scattered(Outline::Triangle),
            Structure::Crescents => scattered(Outline::Crescent),
            Structure::Grid => field(Field::Grid),
            Structure::Stars => scattered(Outline::Star),
            Structure::Bricks => field(Field::Bricks),
            Structure::Honeycomb => field(Field::Honeycomb),
            Structure::Squares => scattered(Outline::Square),
        }
    }
}

/// One figure of a scattered structure.
struct Figure {
    x: f32,
    y: f32,
    cos: f32,
    sin: f32,
    radius: f32,
}

/// A structure at a place: lengths are in units of the image's side, the origin is the image's center.
pub(super) struct Placed {
    form: Form,
    cos: f32,
    sin: f32,
    /// Origin of a field, or the center of rings, rays and spirals.
    x: f32,
    y: f32,
    /// Length of one repetition.
    period: f32,
    /// Width of strokes, as a part of the period.
    stroke: f32,
    /// Rays, or arms of a spiral (negative: the other way round).
    count: f32,
    warp: Warp,
}

/// A smooth displacement of the plane: no two stripes are quite straight or quite parallel.
struct Warp {
    amplitude: f32,
    frequency: f32,
    phases: [f32; 4],
}

impl Warp {
    fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        let Self { amplitude, frequency, phases: [a, b, c, d] } = *self;
        let wave = |t: f32, phase: f32| wave(t * frequency + phase);
        (x + amplitude * (wave(y, a) + wave(x, b)), y + amplitude * (wave(x, c) + wave(y, d)))
    }
}

/// A wave of period 1 between -1 and 1, close to a sine.
fn wave(t: f32) -> f32 {
    let t = 2.0 * (t - t.floor()) - 1.0;
    4.0 * t * (1.0 - t.abs())
}

impl Placed {
    /// Draws position, scale, rotation and stroke.
    pub(super) fn draw(structure: Structure, generator: &mut Xoshiro256PlusPlus) -> Self {
        let mut between = |low: f32, high: f32| low + (high - low) * uniform(generator);
        let (sin, cos) = between(0.0, TAU).sin_cos();
        let mut placed = Self {
            form: Form::of(structure),
            cos,
            sin,
            x: between(-0.5, 0.5),
            y: between(-0.5, 0.5),
            period: between(0.18, 0.34),
            stroke: between(0.35, 0.6),
            count: 0.0,
            warp: Warp {
                amplitude: between(0.015, 0.04),
                frequency: between(0.8, 1.3),
                phases: std::array::from_fn(|_| between(0.0, 1.0)),
            },
        };
        match placed.form {
            Form::Field(Field::Grid | Field::Bricks | Field::Honeycomb) => {
                placed.period = between(0.24, 0.36);
                placed.stroke = between(0.2, 0.34);
            }
            Form::Field(Field::Checkerboard) => placed.period = between(0.14, 0.26),
            Form::Field(Field::Zigzag) => placed.period = between(0.22, 0.34),
            Form::Field(Field::Sunburst) => placed.count = between(7.0, 14.0).floor(),
            Form::Field(Field::Spiral) => placed.count = if between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 },
            Form::Field(Field::Stripes | Field::Concentric) => {}
            Form::Scattered(outline, _) => placed.form = Form::Scattered(outline, placed.scatter(&mut between)),
        }
        placed
    }

    /// Draws figures at the points of a jittered lattice that covers the image.
    fn scatter(&mut self, between: &mut impl FnMut(f32, f32) -> f32) -> Vec<Figure> {
        let mut figures = Vec::new();
        self.period = between(0.34, 0.5);
        let size = between(0.36, 0.44) * self.period;
        let reach = (1.0 / self.period).ceil() as i32 + 1;
        for row in -reach..=reach {
            for column in -reach..=reach {
                let jitter = 0.12;
                let u = (column as f32 + between(-jitter, jitter)) * self.period;
                let v = (row as f32 + between(-jitter, jitter)) * self.period;
                let (sin, cos) = between(0.0, TAU).sin_cos();
                let x = self.cos * u - self.sin * v + self.x;
                let y = self.sin * u + self.cos * v + self.y;
                let radius = size * between(0.85, 1.15);
                if x.abs().max(y.abs()) < 0.6 + radius {
                    figures.push(Figure { x, y, cos, sin, radius });
                }
            }
        }
        figures
    }

    /// Signed distance of a point to the outline, positive inside, in units of the image's side.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let (x, y) = self.warp.apply(x, y);
        let field = match &self.form {
            Form::Field(field) => *field,
            Form::Scattered(outline, figures) => {
                return figures
                    .iter()
                    .fold(f32::NEG_INFINITY, |most, figure| most.max(figure.distance(*outline, x, y)));
            }
        };
        let (dx, dy) = (x - self.x, y - self.y);
        let u = (self.cos * dx + self.sin * dy) / self.period;
        let v = (-self.sin * dx + self.cos * dy) / self.period;
        let half = 0.5 * self.stroke;
        // Distance to the nearest whole number.
        let line = |t: f32| (t - t.round()).abs();
        let distance = match field {
            Field::Stripes => half - line(u),
            Field::Checkerboard => {
                let inside = line(u).min(line(v));
                if (u.floor() as i64 + v.floor() as i64) & 1 == 0 { inside } else { -inside }
            }
            Field::Concentric => half - line(u.hypot(v)),
            Field::Sunburst => {
                let angle = v.atan2(u) * self.count / TAU;
                (half - line(angle)) * u.hypot(v) * TAU / self.count
            }
            Field::Spiral => half - line(u.hypot(v) + self.count * v.atan2(u) / TAU),
            Field::Zigzag => 0.75 * (half - line(u + 2.0 * line(0.6 * v))),
            Field::Grid => (half - line(u)).max(half - line(v)),
            Field::Bricks => {
                let row = (v - 0.5).round();
                let shift = if row as i64 & 1 == 0 { 0.0 } else { 0.5 };
                (half - line(v)).max(0.75 * half - line(0.55 * u + shift) / 0.55)
            }
            Field::Honeycomb => honeycomb(u, v, half),
        };
        distance * self.period
    }
}

impl Figure {
    /// Signed distance to the outline.
    fn distance(&self, outline: Outline, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        let radius = self.radius;
        if dx.abs().max(dy.abs()) > 1.5 * radius {
            return -0.5 * radius;
        }
        let u = self.cos * dx + self.sin * dy;
        let v = -self.sin * dx + self.cos * dy;
        let from_center = u.hypot(v);
        match outline {
            Outline::Disc => 0.85 * radius - from_center,
            Outline::Ring => 0.2 * radius - (from_center - 0.8 * radius).abs(),
            Outline::Cross => {
                let (long, short) = (u.abs().max(v.abs()), u.abs().min(v.abs()));
                (1.05 * radius - long).min(0.24 * radius - short)
            }
            Outline::Triangle => {
                let inner = 0.58 * radius;
                let side = |angle: f32| inner - (u * angle.cos() + v * angle.sin());
                side(PI / 2.0).min(side(PI / 2.0 + TAU / 3.0)).min(side(PI / 2.0 - TAU / 3.0))
            }
            Outline::Crescent => (radius - from_center).min((u - 0.5 * radius).hypot(v) - 0.78 * radius),
            Outline::Star => {
                // A fifth of the star, folded on its axis: the distance to the edge from a point to a notch.
                let angle = v.atan2(u);
                let folded = (angle - (angle * 5.0 / TAU).round() * TAU / 5.0).abs();
                let (s, c) = folded.sin_cos();
                let (px, py) = (from_center * c, from_center * s);
                let (notch_sin, notch_cos) = (PI / 5.0).sin_cos();
                let (tip, notch) = (1.15 * radius, 0.45 * radius);
                let (ex, ey) = (notch * notch_cos - tip, notch * notch_sin);
                (ex * py - ey * (px - tip)) / ex.hypot(ey)
            }
            Outline::Square => {
                let square = u.abs().max(v.abs());
                0.18 * radius - (square - 0.65 * radius).abs()
            }
        }
    }
}

/// Signed distance to the walls of a honeycomb with cells of width 1.
fn honeycomb(u: f32, v: f32, half: f32) -> f32 {
    let height = 3f32.sqrt();
    let cell = |u: f32, v: f32| {
        let (x, y) = (u - u.round(), v - (v / height).round() * height);
        (x, y, x * x + y * y)
    };
    let (a, b) = (cell(u, v), cell(u - 0.5, v - 0.5 * height));
    let (x, y) = if a.2 < b.2 { (a.0.abs(), a.1.abs()) } else { (b.0.abs(), b.1.abs()) };
    let from_wall = 0.5 - x.max(0.5 * x + 0.5 * height * y);
    0.5 * half - from_wall
}
