//! Figures as SVG: curves, a comparison of percentages, a confusion matrix and a map of points.

mod comparison;
mod curves;
mod heat_map;
mod kit;
mod letters;
mod map;

pub(super) use comparison::{Mark, Row, Shape, comparison};
pub(super) use curves::{Curves, Series, number};
pub(super) use heat_map::heat_map;
pub(super) use map::map;
