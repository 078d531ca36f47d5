//! The nearest neighbours of images by their features, and a picture of them.

use crate::features::{FeatureRows, Labelled};
use crate::knn::nearest;
use crate::{EvalError, Figure};
use clsa_augment::{Augmenter, CenterCrop};
use clsa_data::Dataset;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::io::Cursor;

/// Settings of [`retrieval`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalConfig {
    /// Images whose neighbours are shown; capped by the number of test images. Default 10.
    pub queries: usize,
    /// Neighbours of each; capped by the number of other images. Default 10.
    pub neighbours: usize,
    /// Seed that draws the queries.
    pub seed: u64,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self { queries: 10, neighbours: 10, seed: 0 }
    }
}

/// How often the nearest training images are of a test image's class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalPrecision {
    /// Neighbours of each test image that are looked at.
    pub neighbours: usize,
    /// Share of them that are of its class, percent; none where images have not one class.
    pub precision: Option<Figure>,
}

/// An image and those that are nearest to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retrieved {
    /// Number of the query among the test images, or the training images where there are no test images.
    pub query: usize,
    /// Numbers of its neighbours among the training images, nearest first.
    pub neighbours: Vec<usize>,
}

/// Neighbours by cosine of `config.queries` random test images among the training images. Without test images the queries
/// are training images, and none is its own neighbour.
///
/// # Errors
/// A setting is 0, there is one image only, features differ in length or are not finite, or cannot be read.
pub fn retrieval(
    train: &dyn FeatureRows,
    test: Option<&dyn FeatureRows>,
    config: &RetrievalConfig,
) -> Result<Vec<Retrieved>, EvalError> {
    for (key, value) in [("queries", config.queries), ("neighbours", config.neighbours)] {
        if value == 0 {
            return Err(EvalError::Setting { key, value: "0".to_owned(), expected: "use at least 1" });
        }
    }
    let among = test.unwrap_or(train);
    if among.dim() != train.dim() {
        return Err(EvalError::Size { what: "a test feature", got: among.dim(), expected: train.dim() });
    }
    let own = usize::from(test.is_none());
    if train.len() <= own {
        return Err(EvalError::Empty("other"));
    }
    let mut queries: Vec<usize> = (0..among.len()).collect();
    queries.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(config.seed));
    queries.truncate(config.queries);
    let mut rows = Vec::new();
    for &query in &queries {
        rows.extend_from_slice(&among.rows(query..query + 1)?);
    }
    let rows = crate::Features { values: rows, dim: among.dim(), labels: vec![0; queries.len()] };
    let count = config.neighbours.min(train.len() - own);
    let nearest = nearest(train, &rows, count + own)?;
    let neighbours = |query: usize, found: Vec<crate::knn::Neighbour>| -> Vec<usize> {
        let others = found.into_iter().map(|n| n.index as usize).filter(|&index| test.is_some() || index != query);
        others.take(count).collect()
    };
    Ok(queries
        .iter()
        .zip(nearest)
        .map(|(&query, found)| Retrieved { query, neighbours: neighbours(query, found) })
        .collect())
}

/// The share of the `neighbours` nearest training images that are of a test image's class, over all test images; its
/// interval depends on `seed`.
///
/// # Errors
/// As for [`crate::knn()`].
pub fn retrieval_precision(
    train: Labelled,
    test: Labelled,
    neighbours: usize,
    seed: u64,
) -> Result<RetrievalPrecision, EvalError> {
    crate::features::check_labelled(train, test)?;
    let neighbours = neighbours.min(train.labels.len());
    let shares: Vec<f64> = (nearest(train.rows, test.rows, neighbours)?.iter().zip(test.labels))
        .map(|(nearest, class)| {
            nearest.iter().filter(|n| train.labels[n.index as usize] == *class).count() as f64 / neighbours as f64
        })
        .collect();
    Ok(RetrievalPrecision { neighbours, precision: Some(Figure::mean(&shares, seed)) })
}

/// What [`retrieval_precision`] would be if neighbours were drawn at random: the chance that a training image is of a
/// test image's class.
pub fn retrieval_chance(train: &[u32], test: &[u32], neighbours: usize) -> RetrievalPrecision {
    let classes = train.iter().chain(test).max().map_or(0, |&class| class as usize + 1);
    let shares = |labels: &[u32]| {
        let mut counts = vec![0.0; classes];
        labels.iter().for_each(|&class| counts[class as usize] += 1.0 / labels.len() as f64);
        counts
    };
    let value = 100.0 * shares(train).iter().zip(shares(test)).map(|(a, b)| a * b).sum::<f64>();
    RetrievalPrecision {
        neighbours: neighbours.min(train.len()),
        precision: Some(Figure { value, low: value, high: value }),
    }
}

/// Side of a picture's images, pixels.
const SIDE: u32 = 72;
/// Width of a frame, and of the space around it, pixels.
const FRAME: u32 = 3;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const NEUTRAL: Rgb<u8> = Rgb([90, 90, 90]);
const SAME: Rgb<u8> = Rgb([30, 150, 60]);
const OTHER: Rgb<u8> = Rgb([210, 50, 40]);

/// A picture (PNG) of one row for each query: the query in a grey frame, then its neighbours, nearest first, in green frames where they are of
/// its class and red ones where they are of another.
///
/// # Errors
/// An image cannot be read, or the picture is too large for PNG.
pub fn retrieval_picture(
    train: &dyn Dataset,
    test: Option<&dyn Dataset>,
    retrieved: &[Retrieved],
) -> Result<Vec<u8>, EvalError> {
    let mut png = Cursor::new(Vec::new());
    picture(train, test, retrieved)?.write_to(&mut png, ImageFormat::Png).map_err(|_| EvalError::Size {
        what: "the picture of a retrieval",
        got: retrieved.len(),
        expected: 100,
    })?;
    Ok(png.into_inner())
}

fn picture(train: &dyn Dataset, test: Option<&dyn Dataset>, retrieved: &[Retrieved]) -> Result<RgbImage, EvalError> {
    let among = test.unwrap_or(train);
    let step = SIDE + 4 * FRAME;
    let columns = 1 + retrieved.iter().map(|row| row.neighbours.len()).max().unwrap_or(0) as u32;
    // Between query and neighbours there is some more room.
    let (width, height) = (columns * step + 4 * FRAME, retrieved.len() as u32 * step);
    let mut sheet = RgbImage::from_pixel(width, height.max(1), PAPER);
    let mut augmenter = Augmenter::new();
    for (row, found) in retrieved.iter().enumerate() {
        let class = among.label(found.query).class();
        let mut place = |dataset: &dyn Dataset, index: usize, x: u32, frame: Rgb<u8>| -> Result<(), EvalError> {
            let image = dataset.image(index)?;
            let image = CenterCrop::new(SIDE, SIDE)
                .image(&mut augmenter, &image)
                .map_err(|source| EvalError::Transform { sample: dataset.name(index), source })?;
            let (x, y) = (x + FRAME, row as u32 * step + FRAME);
            let framed = RgbImage::from_pixel(SIDE + 2 * FRAME, SIDE + 2 * FRAME, frame);
            imageops::replace(&mut sheet, &framed, i64::from(x), i64::from(y));
            imageops::replace(&mut sheet, &image, i64::from(x + FRAME), i64::from(y + FRAME));
            Ok(())
        };
        place(among, found.query, 0, NEUTRAL)?;
        for (column, &neighbour) in found.neighbours.iter().enumerate() {
            let frame = match (class, train.label(neighbour).class()) {
                (Some(query), Some(found)) if query == found => SAME,
                (Some(_), Some(_)) => OTHER,
                _ => NEUTRAL,
            };
            place(train, neighbour, (column as u32 + 1) * step + 4 * FRAME, frame)?;
        }
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(angles: &[f32], labels: &[u32]) -> crate::Features {
        let values = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
        crate::Features { values, dim: 2, labels: labels.to_vec() }
    }

    #[test]
    fn precision_is_the_share_of_neighbours_of_the_class_and_chance_that_of_any_image() {
        let train = features(&[0.0, 0.1, 0.2, 1.0, 1.1, 1.2], &[0, 0, 1, 1, 1, 0]);
        // The three nearest of the first are of classes 0, 0 and 1, those of the second of 1, 1 and 0.
        let test = features(&[0.05, 1.05], &[0, 1]);
        let of = |neighbours| retrieval_precision((&train).into(), (&test).into(), neighbours, 0).unwrap();
        let value = |found: &RetrievalPrecision| found.precision.as_ref().unwrap().value;
        assert!((value(&of(3)) - 100.0 * (2.0 / 3.0 + 2.0 / 3.0) / 2.0).abs() < 1e-9);
        assert!((value(&of(2)) - 100.0).abs() < 1e-9);
        assert!((value(&of(60)) - 50.0).abs() < 1e-9 && of(60).neighbours == 6);
        let chance = retrieval_chance(&[0, 0, 0, 1], &[0, 1], 9);
        assert!((value(&chance) - 100.0 * (0.75 * 0.5 + 0.25 * 0.5)).abs() < 1e-9 && chance.neighbours == 4);
    }
}
