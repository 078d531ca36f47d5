//! A confusion matrix.

use super::kit::{TEXT, WIDTH, drawing, sized};
use super::letters::{shortened, width_in_letters};
use crate::report::palette::{INK, ON_FILL, series};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Classes up to which a cell of [`heat_map`] shows its count.
const COUNTED: usize = 12;
/// Classes up to which rows and columns of [`heat_map`] are named.
const NAMED: usize = 40;

/// Counts by true class (row) and predicted class (column), each cell as dark as its share of the row.
pub(in crate::report) fn heat_map(counts: &[Vec<u32>], classes: &[String]) -> String {
    const LETTERS: usize = 24;
    let n = counts.len().max(1);
    // The names of the classes are written on the left, and turned below: both need the same margin, and the height of
    // the letters depends on the room that it leaves for the cells. 220 is about what names of the usual length take.
    let longest = classes.iter().map(|name| width_in_letters(name)).max().unwrap_or(0).min(LETTERS);
    let wide = (0.5 * letter_height(n, 220) * longest as f64) as i32 + 24;
    let margin = if n <= NAMED { wide.clamp(60, 390) } else { 60 };
    let cell = f64::from(WIDTH as i32 - margin - 10) / n as f64;
    let at = |index: usize| (index as f64 * cell) as i32;
    let letters = letter_height(n, margin);
    drawing((WIDTH, WIDTH), |area| {
        for (row, counts) in counts.iter().enumerate() {
            let total = counts.iter().sum::<u32>().max(1);
            let y = 10 + at(row);
            for (column, &count) in counts.iter().enumerate() {
                let share = f64::from(count) / f64::from(total);
                let x = margin + at(column);
                let corners = [(x, y), (margin + at(column + 1), 10 + at(row + 1))];
                if count > 0 {
                    // One image of many is still seen.
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
                let name = shortened(classes.get(class).map_or("", String::as_str), LETTERS);
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

/// Height of letters beside the cells of `n` classes.
fn letter_height(n: usize, margin: i32) -> f64 {
    f64::from(TEXT).min(1.15 * f64::from(WIDTH as i32 - margin - 10) / n as f64)
}
