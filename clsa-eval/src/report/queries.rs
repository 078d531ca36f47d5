//! Random images, and the training images nearest to them, as pictures.

use super::picture::Picture;
use super::sample_names::{classes_of, full_name, short_name};
use super::sampled::{Sampled, first_rows};
use crate::EvalError;
use crate::nearest::nearest;
use clsa_augment::{Augmenter, CenterCrop};
use clsa_data::{Dataset, Split};

/// Images whose neighbors are shown.
const QUERIES: usize = 8;
/// Neighbors shown of each.
const NEIGHBORS: usize = 6;
/// Side of a neighbor's picture, pixels.
const THUMBNAIL: u32 = 96;

/// An image and the training images nearest to it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub picture: Picture,
    /// Its classes, or its name where it has none.
    pub name: String,
    /// Nearest first.
    pub neighbors: Vec<PicturedNeighbor>,
}

/// A training image near a query.
#[derive(Clone, Debug)]
pub(super) struct PicturedNeighbor {
    pub picture: Picture,
    /// Its classes, or its name where it has none.
    pub name: String,
    /// Whether it has a class that the query has; none where one of them has no class.
    pub same: Option<bool>,
    /// Cosine.
    pub similarity: f32,
}

/// The first of the samples, and those of the gallery nearest to each. None is its own neighbor.
pub(super) fn queries(samples: &Sampled, gallery: &Sampled, transform: &CenterCrop) -> Result<Vec<Query>, EvalError> {
    let wanted = first_rows(&samples.features, QUERIES);
    let mut augmenter = Augmenter::new();
    let mut thumbnail = |data: &dyn Dataset, split, index: usize| -> Result<Picture, EvalError> {
        let image = data.image(index)?;
        let failed = |source| EvalError::Transform { sample: data.name(index), source };
        let cut = transform.ops(image.width(), image.height()).map_err(failed)?;
        let image = augmenter.apply(&image, &cut).map_err(failed)?;
        Ok(Picture::of(&image, THUMBNAIL, full_name(data, split, index)))
    };
    let mut shown = Vec::new();
    for (near, &index) in nearest(&gallery.features, &wanted, NEIGHBORS + 1)?.iter().zip(&samples.indices) {
        let classes = classes_of(samples.data, index);
        let is_itself = |found: usize| samples.split == Split::Train && found == index;
        let others = near.iter().map(|near| (gallery.indices[near.index as usize], near.similarity));
        let mut neighbors = Vec::new();
        for (index, similarity) in others.filter(|(found, _)| !is_itself(*found)).take(NEIGHBORS) {
            let own = classes_of(gallery.data, index);
            neighbors.push(PicturedNeighbor {
                picture: thumbnail(gallery.data, gallery.split, index)?,
                name: short_name(gallery.data, index),
                same: (!own.is_empty() && !classes.is_empty()).then(|| own.iter().any(|class| classes.contains(class))),
                similarity,
            });
        }
        let picture = thumbnail(samples.data, samples.split, index)?;
        shown.push(Query { picture, name: short_name(samples.data, index), neighbors });
    }
    Ok(shown)
}
