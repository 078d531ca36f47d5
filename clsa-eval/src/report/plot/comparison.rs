//! Percentages of several things on a common scale.

use super::kit::{Area, Drawn, FONT, TEXT, WIDTH, anchored, drawing};
use super::letters::lines;
use crate::report::palette::{GRID, INK, series};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// How a mark of [`comparison`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Shape {
    /// A filled circle over its interval.
    Disc,
    /// A circle.
    Ring,
    /// A square on its corner.
    Diamond,
    /// An upright line.
    Bar,
}

/// A figure on the line of a row, percent.
pub(in crate::report) struct Mark {
    pub shape: Shape,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A row of [`comparison`].
pub(in crate::report) enum Row {
    /// The rows below it belong together.
    Heading(String),
    /// A line with marks under its name.
    Marks { name: String, color: usize, marks: Vec<Mark> },
}

/// Percentages, one line below the other on a common scale from 0 to the next ten above the largest.
pub(in crate::report) fn comparison(rows: &[Row]) -> String {
    /// Letters of a line of text, and its height.
    const LETTERS: usize = 54;
    const LINE: i32 = 44;
    const TRACK: i32 = 46;
    const LEFT: i32 = 22;
    let marks = || rows.iter().filter_map(|row| if let Row::Marks { marks, .. } = row { Some(marks) } else { None });
    let most = marks().flatten().map(|mark| mark.high.max(mark.value)).fold(0.0, f64::max);
    let end = ((most / 10.0).ceil() * 10.0).clamp(10.0, 100.0);
    // Few ticks, of round numbers.
    let step = if end > 60.0 {
        20
    } else if end > 20.0 {
        10
    } else {
        5
    };
    let x = |percent: f64| LEFT + ((WIDTH as i32 - LEFT - 70) as f64 * percent.clamp(0.0, end) / end) as i32;
    let height = |row: &Row| match row {
        Row::Heading(name) => 14 + LINE * lines(name, LETTERS).len() as i32,
        Row::Marks { name, .. } => TRACK + LINE * lines(name, LETTERS).len() as i32,
    };
    let bottom = 6 + rows.iter().map(height).sum::<i32>();
    drawing((WIDTH, bottom as u32 + 52), |area| {
        let mut y = 6;
        let write = |name: &str, mut y: i32, bold: bool| -> Drawn {
            for line in lines(name, LETTERS) {
                let font = (FONT, TEXT).into_font();
                let font = if bold { font.style(FontStyle::Bold) } else { font };
                let style = font.color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
                area.draw(&Text::new(line, (LEFT - 10, y), style))?;
                y += LINE;
            }
            Ok(())
        };
        for row in rows {
            match row {
                Row::Heading(name) => write(name, y + 12, true)?,
                Row::Marks { name, color, marks } => {
                    write(name, y, false)?;
                    let line = y + height(row) - TRACK + 16;
                    area.draw(&PathElement::new([(x(0.0), line), (x(end), line)], GRID.stroke_width(3)))?;
                    for tick in (0..=end as i32).step_by(step) {
                        let at = x(f64::from(tick));
                        area.draw(&PathElement::new([(at, line - 10), (at, line + 10)], GRID.stroke_width(3)))?;
                    }
                    // The trained encoder's, which come first, are drawn over the others.
                    for mark in marks.iter().rev() {
                        draw_mark(area, mark, &x, line, series(*color))?;
                    }
                }
            }
            y += height(row);
        }
        for tick in (0..=end as i32).step_by(step) {
            let last = tick as usize + step > end as usize;
            let label = if last { format!("{tick} %") } else { tick.to_string() };
            area.draw(&Text::new(label, (x(f64::from(tick)), bottom), anchored(INK, HPos::Center, VPos::Top)))?;
        }
        Ok(())
    })
}

fn draw_mark(area: &Area, mark: &Mark, x: &impl Fn(f64) -> i32, y: i32, color: RGBColor) -> Drawn {
    let at = x(mark.value);
    let outline = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: 4 };
    match mark.shape {
        Shape::Disc => {
            area.draw(&PathElement::new([(x(mark.low), y), (x(mark.high), y)], color.stroke_width(6)))?;
            for end in [mark.low, mark.high] {
                area.draw(&PathElement::new([(x(end), y - 11), (x(end), y + 11)], color.stroke_width(4)))?;
            }
            area.draw(&Circle::new((at, y), 10, color.filled()))
        }
        Shape::Ring => area.draw(&Circle::new((at, y), 9, outline)),
        Shape::Diamond => {
            let corners = [(at, y - 12), (at + 12, y), (at, y + 12), (at - 12, y), (at, y - 12)];
            area.draw(&PathElement::new(corners, outline))
        }
        Shape::Bar => area.draw(&PathElement::new([(at, y - 16), (at, y + 16)], INK.stroke_width(5))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_broken_into_lines_and_never_cut() {
        let name = "a-rather-long-name-".repeat(8);
        let drawn = comparison(&[Row::Marks {
            name: name.clone(),
            color: 0,
            marks: vec![Mark { shape: Shape::Disc, value: 55.0, low: 50.0, high: 61.0 }],
        }]);
        for line in lines(&name, 54) {
            assert!(drawn.contains(&line), "{line}");
        }
        assert!(drawn.contains("60 %") && !drawn.contains("80 %"), "the axis ends at the next ten above 61");
    }
}
