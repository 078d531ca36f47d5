//! Points in two dimensions, colored by class.

use super::kit::{WIDTH, anchored, drawing};
use super::letters::{shortened, width_in_letters};
use crate::report::palette::{DISTINCT, GRID, INK, series};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Points colored by class, with the class's name near its median where the classes are few; in one color without
/// labels. `axes` names the horizontal and the vertical one.
pub(in crate::report) fn map(
    points: &[[f64; 2]],
    labels: Option<&[u32]>,
    classes: &[String],
    axes: Option<[String; 2]>,
) -> String {
    let class_of = |index: usize| labels.map_or(0, |labels| labels[index] as usize);
    let classes = if labels.is_some() && classes.len() <= DISTINCT { classes } else { &[] };
    let extent = |axis: usize| {
        let of = points.iter().map(|point| point[axis]);
        of.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let side = WIDTH as i32;
    let margin = if axes.is_some() { 56 } else { 2 };
    // Points keep their own radius away from the frame. All at one place, they are drawn at its edge.
    let scale = |value: f64, (low, high): (f64, f64)| {
        22 + (f64::from(side - margin - 46) * (value - low) / (high - low).max(1e-12)) as i32
    };
    let (horizontal, vertical) = (extent(0), extent(1));
    let place = |point: &[f64; 2]| (margin + scale(point[0], horizontal), side - margin - scale(point[1], vertical));
    let radius = if points.len() > 2000 { 5 } else { 7 };
    drawing((WIDTH, WIDTH), |area| {
        let frame = ShapeStyle { color: GRID.to_rgba(), filled: false, stroke_width: 2 };
        area.draw(&Rectangle::new([(margin, 2), (side - 2, side - margin)], frame))?;
        if let Some([across, up]) = &axes {
            let style = anchored(INK, HPos::Center, VPos::Top);
            area.draw(&Text::new(across.clone(), ((side + margin) / 2, side - margin + 10), style))?;
            let style = anchored(INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
            area.draw(&Text::new(up.clone(), (8, (side - margin) / 2), style))?;
        }
        for (index, point) in points.iter().enumerate() {
            area.draw(&Circle::new(place(point), radius, series(class_of(index)).mix(0.7).filled()))?;
        }
        let mut names: Vec<Name> = Vec::new();
        for class in 0..classes.len() {
            let of = |axis: usize| {
                let own = points.iter().enumerate().filter(|(index, _)| class_of(*index) == class);
                let mut own: Vec<f64> = own.map(|(_, point)| point[axis]).collect();
                own.sort_unstable_by(f64::total_cmp);
                own.get(own.len() / 2).copied()
            };
            if let (Some(x), Some(y)) = (of(0), of(1)) {
                let (x, y) = place(&[x, y]);
                names.push(Name { class, x, y });
            }
        }
        set_apart(&mut names, |class| letters_width(width_in_letters(&classes[class]).min(LETTERS)), side - margin);
        for Name { class, x, y } in names {
            let style = anchored(series(class), HPos::Center, VPos::Center);
            area.draw(&Text::new(shortened(&classes[class], LETTERS), (x, y), style))?;
        }
        Ok(())
    })
}

/// Letters of a class's name in [`map`]; the legend has all of it.
const LETTERS: usize = 18;

/// The middle of a class's name in a figure.
struct Name {
    class: usize,
    x: i32,
    y: i32,
}

/// About the width of letters of the usual height.
fn letters_width(letters: usize) -> i32 {
    letters as i32 * 17
}

/// Moves names up and down until none is written over another, between the edges of a figure of height `end`.
fn set_apart(names: &mut [Name], width: impl Fn(usize) -> i32, end: i32) {
    const HEIGHT: i32 = 34;
    // From the top down, so that a name gives way only to those above it.
    names.sort_by_key(|name| (name.y, name.class));
    let free = |placed: &[Name], class: usize, x: i32, y: i32| {
        let apart = |other: &Name| {
            (other.y - y).abs() >= HEIGHT || 2 * (other.x - x).abs() >= width(class) + width(other.class)
        };
        (HEIGHT / 2..=end - HEIGHT / 2).contains(&y) && placed.iter().all(apart)
    };
    for index in 0..names.len() {
        let (placed, rest) = names.split_at_mut(index);
        let name = &mut rest[0];
        // A name keeps within the figure, and takes the free place nearest to its own.
        let edge = (width(name.class) / 2).min(WIDTH as i32 / 2);
        name.x = name.x.clamp(edge, WIDTH as i32 - edge);
        let mut tried = (0..end).flat_map(|step| [name.y + step, name.y - step]);
        let nearest = tried.find(|&y| free(placed, name.class, name.x, y));
        name.y = nearest.unwrap_or(name.y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_one_place_are_set_apart() {
        let mut names: Vec<Name> = (0..12).map(|class| Name { class, x: 450, y: 450 }).collect();
        set_apart(&mut names, |_| 200, 900);
        let mut rows: Vec<i32> = names.iter().map(|name| name.y).collect();
        rows.sort_unstable();
        assert!(rows.windows(2).all(|pair| pair[1] - pair[0] >= 34), "{rows:?}");
        assert!(rows.iter().all(|y| (17..=883).contains(y)));
    }
}
