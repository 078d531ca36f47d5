//! Curves over the training step.

use super::kit::{HEIGHT, WIDTH, drawing, text};
use crate::report::palette::{GRID, INK, series};
use plotters::prelude::*;

/// A curve.
pub(in crate::report) struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Number of its color.
    pub color: usize,
    /// Whether each point is marked.
    pub marked: bool,
}

/// Curves over the step.
pub(in crate::report) struct Curves {
    pub y_label: &'static str,
    pub series: Vec<Series>,
    /// Begins the vertical axis at 0.
    pub from_zero: bool,
    /// A level to compare with, in the color of text.
    pub level: Option<f64>,
}

impl Curves {
    /// The picture; `None` where there is nothing to draw.
    pub(in crate::report) fn svg(&self) -> Option<String> {
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
        // A flat curve and a single point need an axis that has a length, too.
        let room = if y1 > y0 { 0.06 * (y1 - y0) } else { 0.1 * y1.abs().max(1e-3) };
        y0 = if self.from_zero { 0.0 } else { y0 - room };
        let (x1, y1) = (if x1 > x0 { x1 } else { x0 + 1.0 }, y1 + room);
        Some(drawing((WIDTH, HEIGHT), |area| {
            let text = text(INK);
            // Below and on the left is room for the ticks and the axis' name, on the right for half of the last tick.
            let mut chart = ChartBuilder::on(area)
                .margin_top(16)
                .margin_left(8)
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

/// A number in few letters: 5e-5, 0.06, 12, 40k, 1.5M.
pub(in crate::report) fn number(x: f64) -> String {
    let short = |x: f64| {
        let text = format!("{x:.4}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    match x.abs() {
        a if a >= 1e6 => format!("{}M", short((x / 1e4).round() / 100.0)),
        a if a >= 1e4 => format!("{}k", short((x / 100.0).round() / 10.0)),
        // A tick at zero may be off by a rounding.
        a if a < 1e-12 => "0".to_owned(),
        a if a < 1e-3 => {
            let rounded = format!("{x:.2e}").parse().unwrap_or(x);
            format!("{rounded:e}")
        }
        _ => short(x),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn small_and_large_numbers_are_told_apart_in_few_letters() {
        let numbers = [0.0, -4e-17, 5e-5, 1e-4, 1.5e-4, 0.06, 12.0, 4e4, 1.5e6].map(number);
        assert_eq!(numbers, ["0", "0", "5e-5", "1e-4", "1.5e-4", "0.06", "12", "40k", "1.5M"]);
    }
}
