//! What all figures are drawn with.
//!
//! A figure is drawn at a fixed width and scaled to its column by the page; the text is large enough for a telephone.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of every figure, in its own units.
pub(super) const WIDTH: u32 = 900;
/// Height of curves.
pub(super) const HEIGHT: u32 = 560;
/// Height of letters; plotters draws them 1.24 times smaller.
pub(super) const TEXT: i32 = 34;
pub(super) const FONT: &str = "system-ui, sans-serif";

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws into a string. Nothing that is drawn can fail: the string takes all.
pub(super) fn drawing(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("a figure is drawn in memory");
    }
    // What SVG does anyway, of which a map of many points is mostly made.
    svg.replace(" stroke=\"none\" stroke-width=\"1\"", "")
}

pub(super) fn text(color: RGBColor) -> TextStyle<'static> {
    (FONT, TEXT).into_font().color(&color)
}

pub(super) fn anchored(color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    text(color).pos(Pos::new(h, v))
}

pub(super) fn sized(color: RGBColor, h: HPos, v: VPos, size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color).pos(Pos::new(h, v))
}
