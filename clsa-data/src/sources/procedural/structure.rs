//! The structures that are the classes of the procedural data set.

use std::fmt;

/// What a class of the procedural data set looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Structure {
    /// Parallel stripes.
    Stripes,
    /// Squares of two colors in turn.
    Checkerboard,
    /// Rings around one center.
    Concentric,
    /// Rays from one center.
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
        f.pad(match self {
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
