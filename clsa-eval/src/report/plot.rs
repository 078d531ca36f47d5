//! Figures as SVG: curves, intervals, a heat map and a map of points.
//!
//! A figure is drawn at a fixed width and scaled to its column by the page; the text is large enough for a telephone.

use super::palette::{DISTINCT, GRID, INK, ON_FILL, series};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Height of letters; plotters draws them 1.24 times smaller.
const TEXT: i32 = 34;
const FONT: &str = "system-ui, sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A curve.
pub(super) struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Number of its colour.
    pub color: usize,
    /// Whether each point is marked.
    pub marked: bool,
}

/// Curves over the step.
pub(super) struct Curves {
    pub y_label: &'static str,
    pub series: Vec<Series>,
    /// Begins the vertical axis at 0.
    pub from_zero: bool,
    /// A level to compare with, in the colour of text.
    pub level: Option<f64>,
}

impl Curves {
    /// The picture; `None` where there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let ((x0, x1), (mut y0, mut y1)) = (range(|p| p.0), range(|p| p.1));
        if !(x0.is_finite() && x1.is_finite() && y0.is_finite() && y1.is_finite()) {
            return None;
        }
        if let Some(level) = self.level {
            (y0, y1) = (y0.min(level), y1.max(level));
        }
        let room = if y1 > y0 { 0.06 * (y1 - y0) } else { 0.1 * y1.abs().max(1e-3) };
        y0 = if self.from_zero { 0.0 } else { y0 - room };
        let (x1, y1) = (if x1 > x0 { x1 } else { x0 + 1.0 }, y1 + room);
        Some(drawing((WIDTH, HEIGHT), |area| {
            let text = text(INK);
            let mut chart = ChartBuilder::on(area)
                .margin_top(16)
                .margin_right(36)
                .x_label_area_size(84)
                .y_label_area_size(132)
                .build_cartesian_2d(x0..x1, y0..y1)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(ShapeStyle { color: GRID.to_rgba(), filled: false, stroke_width: 2 })
                .axis_style(ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 })
                .label_style(text.clone())
                .axis_desc_style(text)
                .x_labels(5)
                .y_labels(5)
                .x_label_formatter(&|x| number(*x))
                .y_label_formatter(&|y| number(*y))
                .x_desc("step")
                .y_desc(self.y_label)
                .draw()?;
            if let Some(level) = self.level {
                let style = ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 };
                chart.draw_series(DashedLineSeries::new([(x0, level), (x1, level)], 10, 8, style))?;
            }
            for Series { points, color, marked, .. } in &self.series {
                let style = ShapeStyle { color: series(*color).to_rgba(), filled: true, stroke_width: 4 };
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                if *marked || points.len() == 1 {
                    chart.draw_series(points.iter().map(|&point| Circle::new(point, 8, style)))?;
                }
            }
            Ok(())
        }))
    }
}

/// One row of a figure of intervals.
pub(super) struct Interval {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Number of its colour.
    pub color: usize,
}

/// Percentages with their intervals, one below the other, on a scale from 0 to 100; `chance` is a dashed line.
pub(super) fn intervals(rows: &[Interval], chance: Option<f64>) -> String {
    const LABELS: i32 = 430;
    const ROW: i32 = 56;
    let bottom = ROW * rows.len() as i32 + 20;
    drawing((WIDTH, bottom as u32 + 70), |area| {
        let x =
            |percent: f64| LABELS + ((WIDTH as i32 - LABELS - 60) as f64 * percent.clamp(0.0, 100.0) / 100.0) as i32;
        for tick in [0, 25, 50, 75, 100] {
            let at = x(f64::from(tick));
            area.draw(&PathElement::new([(at, 8), (at, bottom)], GRID.stroke_width(2)))?;
            let label = if tick == 100 { "100 %".to_owned() } else { tick.to_string() };
            area.draw(&Text::new(label, (at, bottom + 12), anchored(INK, HPos::Center, VPos::Top)))?;
        }
        if let Some(chance) = chance {
            let at = x(chance);
            for y in (8..bottom).step_by(18) {
                area.draw(&PathElement::new([(at, y), (at, (y + 10).min(bottom))], INK.stroke_width(3)))?;
            }
        }
        for (row, interval) in rows.iter().enumerate() {
            let y = ROW * row as i32 + ROW / 2 + 10;
            let color = series(interval.color);
            let name = shortened(&interval.name, 29);
            area.draw(&Text::new(name, (LABELS - 20, y), anchored(INK, HPos::Right, VPos::Center)))?;
            area.draw(&PathElement::new([(x(interval.low), y), (x(interval.high), y)], color.stroke_width(6)))?;
            for end in [interval.low, interval.high] {
                area.draw(&PathElement::new([(x(end), y - 10), (x(end), y + 10)], color.stroke_width(4)))?;
            }
            area.draw(&Circle::new((x(interval.value), y), 9, color.filled()))?;
        }
        Ok(())
    })
}

/// Classes up to which a cell of [`heat_map`] shows its count.
const COUNTED: usize = 12;
/// Classes up to which rows and columns of [`heat_map`] are named.
const NAMED: usize = 40;

/// Counts by true class (row) and predicted class (column), each cell as dark as its share of the row.
pub(super) fn heat_map(counts: &[Vec<u32>], classes: &[String]) -> String {
    let n = counts.len().max(1);
    let margin = if n <= NAMED { 210 } else { 60 };
    let cell = f64::from(WIDTH as i32 - margin - 10) / n as f64;
    let at = |index: usize| (index as f64 * cell) as i32;
    let letters = (TEXT as f64).min(1.15 * cell);
    drawing((WIDTH, WIDTH), |area| {
        for (row, counts) in counts.iter().enumerate() {
            let total = counts.iter().sum::<u32>().max(1);
            let y = 10 + at(row);
            for (column, &count) in counts.iter().enumerate() {
                let share = f64::from(count) / f64::from(total);
                let x = margin + at(column);
                let corners = [(x, y), (margin + at(column + 1), 10 + at(row + 1))];
                if count > 0 {
                    area.draw(&Rectangle::new(corners, series(0).mix(share.max(0.06)).filled()))?;
                }
                if n <= COUNTED {
                    let middle = (x + (cell / 2.0) as i32, y + (cell / 2.0) as i32);
                    let style =
                        sized(if share > 0.5 { ON_FILL } else { INK }, HPos::Center, VPos::Center, letters * 0.85);
                    area.draw(&Text::new(count.to_string(), middle, style))?;
                }
            }
        }
        let frame = [(margin, 10), (margin + at(n), 10 + at(n))];
        area.draw(&Rectangle::new(frame, ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 2 }))?;
        if n <= NAMED {
            for class in 0..n {
                let name = shortened(classes.get(class).map_or("", String::as_str), 12);
                let middle = at(class) + (cell / 2.0) as i32;
                let style = sized(INK, HPos::Right, VPos::Center, letters);
                area.draw(&Text::new(name.clone(), (margin - 10, 10 + middle), style.clone()))?;
                let turned = style.transform(FontTransform::Rotate270);
                area.draw(&Text::new(name, (margin + middle, 20 + at(n)), turned))?;
            }
        }
        Ok(())
    })
}

/// Points coloured by class, with the class's name at its median where the classes are few.
pub(super) fn map(points: &[[f64; 2]], labels: &[u32], classes: &[String]) -> String {
    let extent = |axis: usize| {
        let of = points.iter().map(|point| point[axis]);
        of.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let scale = |value: f64, (low, high): (f64, f64), room: i32| {
        30 + (f64::from(room - 60) * (value - low) / (high - low).max(1e-12)) as i32
    };
    let side = WIDTH as i32;
    let (horizontal, vertical) = (extent(0), extent(1));
    let place = |point: &[f64; 2]| (scale(point[0], horizontal, side), side - scale(point[1], vertical, side));
    let radius = if points.len() > 2000 { 5 } else { 7 };
    drawing((WIDTH, WIDTH), |area| {
        for (point, &label) in points.iter().zip(labels) {
            area.draw(&Circle::new(place(point), radius, series(label as usize).mix(0.7).filled()))?;
        }
        if classes.len() <= DISTINCT {
            for (class, name) in classes.iter().enumerate() {
                let of = |axis: usize| {
                    let own = points.iter().zip(labels).filter(|(_, label)| **label as usize == class);
                    let mut own: Vec<f64> = own.map(|(point, _)| point[axis]).collect();
                    own.sort_unstable_by(f64::total_cmp);
                    own.get(own.len() / 2).copied()
                };
                if let (Some(x), Some(y)) = (of(0), of(1)) {
                    let style = anchored(series(class), HPos::Center, VPos::Center);
                    area.draw(&Text::new(shortened(name, 16), place(&[x, y]), style))?;
                }
            }
        }
        Ok(())
    })
}

/// Draws into a string. Nothing that is drawn can fail: the string takes all.
fn drawing(size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).and_then(|()| area.present()).expect("a figure is drawn in memory");
    }
    svg
}

fn text(color: RGBColor) -> TextStyle<'static> {
    (FONT, TEXT).into_font().color(&color)
}

fn anchored(color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    text(color).pos(Pos::new(h, v))
}

fn sized(color: RGBColor, h: HPos, v: VPos, size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color).pos(Pos::new(h, v))
}

fn shortened(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    name.chars().take(letters - 1).chain(['…']).collect()
}

/// A tick in few letters: 0.06, 12, 40k, 1.5M.
fn number(x: f64) -> String {
    let short = |x: f64| {
        let text = format!("{x:.4}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match x.abs() {
        a if a >= 1e6 => format!("{}M", short((x / 1e4).round() / 100.0)),
        a if a >= 1e4 => format!("{}k", short((x / 100.0).round() / 10.0)),
        _ => short(x),
    }
}
