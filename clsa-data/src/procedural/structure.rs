//! The structures that are the classes, each as a signed distance to its outline.

use std::f32::consts::{PI, TAU};
use std::fmt;

use rand_xoshiro::Xoshiro256PlusPlus;

use super::paint::uniform;

/// What a class of the procedural data set looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Structure {
    /// Parallel stripes.
    Stripes,
    /// Squares of two colours in turn.
    Checkerboard,
    /// Rings around one centre.
    Concentric,
    /// Rays from one centre.
    Sunburst,
    /// A spiral.
    Spiral,
    /// Zigzag lines.
    Zigzag,
    /// Full discs.
    Dots,
    /// Thin rings, scattered.
    Rings,
    /// Crosses.
    Crosses,
    /// Triangles.
    Triangles,
    /// Crescents.
    Crescents,
    /// Two families of parallel lines, crossing.
    Grid,
    /// Five-pointed stars.
    Stars,
    /// The joints of a brick wall.
    Bricks,
    /// The walls of a honeycomb.
    Honeycomb,
    /// Outlines of squares, scattered.
    Squares,
}

impl Structure {
    /// All structures, in the order of the classes.
    pub const ALL: [Structure; 16] = [
        Structure::Stripes,
        Structure::Checkerboard,
        Structure::Concentric,
        Structure::Sunburst,
        Structure::Spiral,
        Structure::Zigzag,
        Structure::Dots,
        Structure::Rings,
        Structure::Crosses,
        Structure::Triangles,
        Structure::Crescents,
        Structure::Grid,
        Structure::Stars,
        Structure::Bricks,
        Structure::Honeycomb,
        Structure::Squares,
    ];
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Structure::Stripes => "stripes",
            Structure::Checkerboard => "checkerboard",
            Structure::Concentric => "concentric",
            Structure::Sunburst => "sunburst",
            Structure::Spiral => "spiral",
            Structure::Zigzag => "zigzag",
            Structure::Dots => "dots",
            Structure::Rings => "rings",
            Structure::Crosses => "crosses",
            Structure::Triangles => "triangles",
            Structure::Crescents => "crescents",
            Structure::Grid => "grid",
            Structure::Stars => "stars",
            Structure::Bricks => "bricks",
            Structure::Honeycomb => "honeycomb",
            Structure::Squares => "squares",
        })
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

/// A structure at a place: lengths are in units of the image's side, the origin is the image's centre.
pub(super) struct Placed {
    structure: Structure,
    cos: f32,
    sin: f32,
    /// Origin of a field, or the centre of rings, rays and spirals.
    x: f32,
    y: f32,
    /// Length of one repetition.
    period: f32,
    /// Width of strokes, as a part of the period.
    stroke: f32,
    /// Rays, or arms of a spiral (negative: the other way round).
    count: f32,
    figures: Vec<Figure>,
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
            structure,
            cos,
            sin,
            x: between(-0.5, 0.5),
            y: between(-0.5, 0.5),
            period: between(0.18, 0.34),
            stroke: between(0.35, 0.6),
            count: 0.0,
            figures: Vec::new(),
            warp: Warp {
                amplitude: between(0.015, 0.04),
                frequency: between(0.8, 1.3),
                phases: std::array::from_fn(|_| between(0.0, 1.0)),
            },
        };
        match structure {
            Structure::Grid | Structure::Bricks | Structure::Honeycomb => {
                placed.period = between(0.24, 0.36);
                placed.stroke = between(0.2, 0.34);
            }
            Structure::Checkerboard => placed.period = between(0.14, 0.26),
            Structure::Zigzag => placed.period = between(0.22, 0.34),
            Structure::Sunburst => placed.count = between(7.0, 14.0).floor(),
            Structure::Spiral => placed.count = if between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 },
            _ => {}
        }
        if placed.is_scattered() {
            placed.scatter(&mut between);
        }
        placed
    }

    fn is_scattered(&self) -> bool {
        matches!(
            self.structure,
            Structure::Dots
                | Structure::Rings
                | Structure::Crosses
                | Structure::Triangles
                | Structure::Crescents
                | Structure::Stars
                | Structure::Squares
        )
    }

    /// Puts figures at the points of a jittered lattice that covers the image.
    fn scatter(&mut self, between: &mut impl FnMut(f32, f32) -> f32) {
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
                    self.figures.push(Figure { x, y, cos, sin, radius });
                }
            }
        }
    }

    /// Signed distance of a point to the outline, positive inside, in units of the image's side.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let (x, y) = self.warp.apply(x, y);
        if self.is_scattered() {
            return self.figures.iter().fold(f32::NEG_INFINITY, |most, figure| most.max(self.figure(figure, x, y)));
        }
        let (dx, dy) = (x - self.x, y - self.y);
        let u = (self.cos * dx + self.sin * dy) / self.period;
        let v = (-self.sin * dx + self.cos * dy) / self.period;
        let half = 0.5 * self.stroke;
        // Distance to the nearest whole number.
        let line = |t: f32| (t - t.round()).abs();
        let distance = match self.structure {
            Structure::Stripes => half - line(u),
            Structure::Checkerboard => {
                let inside = line(u).min(line(v));
                if (u.floor() as i64 + v.floor() as i64) & 1 == 0 { inside } else { -inside }
            }
            Structure::Concentric => half - line(u.hypot(v)),
            Structure::Sunburst => {
                let angle = v.atan2(u) * self.count / TAU;
                (half - line(angle)) * u.hypot(v) * TAU / self.count
            }
            Structure::Spiral => half - line(u.hypot(v) + self.count * v.atan2(u) / TAU),
            Structure::Zigzag => 0.75 * (half - line(u + 2.0 * line(0.6 * v))),
            Structure::Grid => (half - line(u)).max(half - line(v)),
            Structure::Bricks => {
                let row = (v - 0.5).round();
                let shift = if row as i64 & 1 == 0 { 0.0 } else { 0.5 };
                (half - line(v)).max(0.75 * half - line(0.55 * u + shift) / 0.55)
            }
            _ => honeycomb(u, v, half),
        };
        distance * self.period
    }

    /// Signed distance to one figure.
    fn figure(&self, figure: &Figure, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - figure.x, y - figure.y);
        let radius = figure.radius;
        if dx.abs().max(dy.abs()) > 1.5 * radius {
            return -0.5 * radius;
        }
        let u = figure.cos * dx + figure.sin * dy;
        let v = -figure.sin * dx + figure.cos * dy;
        let from_centre = u.hypot(v);
        match self.structure {
            Structure::Dots => 0.85 * radius - from_centre,
            Structure::Rings => 0.2 * radius - (from_centre - 0.8 * radius).abs(),
            Structure::Crosses => {
                let (long, short) = (u.abs().max(v.abs()), u.abs().min(v.abs()));
                (1.05 * radius - long).min(0.24 * radius - short)
            }
            Structure::Triangles => {
                let inner = 0.58 * radius;
                let side = |angle: f32| inner - (u * angle.cos() + v * angle.sin());
                side(PI / 2.0).min(side(PI / 2.0 + TAU / 3.0)).min(side(PI / 2.0 - TAU / 3.0))
            }
            Structure::Crescents => (radius - from_centre).min((u - 0.5 * radius).hypot(v) - 0.78 * radius),
            Structure::Stars => {
                // A fifth of the star, folded on its axis: the distance to the edge from a point to a notch.
                let angle = v.atan2(u);
                let folded = (angle - (angle * 5.0 / TAU).round() * TAU / 5.0).abs();
                let (s, c) = folded.sin_cos();
                let (px, py) = (from_centre * c, from_centre * s);
                let (notch_sin, notch_cos) = (PI / 5.0).sin_cos();
                let (tip, notch) = (1.15 * radius, 0.45 * radius);
                let (ex, ey) = (notch * notch_cos - tip, notch * notch_sin);
                (ex * py - ey * (px - tip)) / ex.hypot(ey)
            }
            _ => {
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
