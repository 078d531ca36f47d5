//! Features of a run's encoder, seen: a map in two dimensions and nearest neighbours.

use super::picture::Picture;
use super::projection::{Pca, pca, tsne};
use super::views::named;
use crate::knn::nearest;
use crate::{EvalError, EvalTransform, Features, Run, extract};
use candle_core::Device;
use clsa_augment::Augmenter;
use clsa_data::{Dataset, Split};
use clsa_model::{Compute, Encoder, weights};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Images of one pass through the encoder.
const BATCH: usize = 128;
/// Test images whose neighbours are shown.
const QUERIES: usize = 8;
/// Neighbours shown of each.
const NEIGHBOURS: usize = 6;
/// Side of a neighbour's picture, pixels.
const THUMBNAIL: u32 = 96;

/// What the encoder makes of images.
#[derive(Clone, Debug)]
pub(super) struct Embedding {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Class of each image of the maps.
    pub labels: Vec<u32>,
    pub pca: Result<Pca, String>,
    pub tsne: Result<Vec<[f64; 2]>, String>,
    pub queries: Vec<Query>,
    /// Training images among which neighbours were looked for.
    pub gallery: usize,
}

/// A test image and the training images nearest to it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub picture: Picture,
    pub class: String,
    /// Nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// A training image near a query.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    pub picture: Picture,
    pub class: String,
    /// Whether it is of the query's class.
    pub same: bool,
    /// Cosine.
    pub similarity: f32,
}

/// The images that are looked at.
pub(super) struct Images<'a> {
    pub train: &'a dyn Dataset,
    pub test: &'a dyn Dataset,
    /// Test images of the maps; neighbours are looked for among twice as many training images.
    pub samples: usize,
    pub seed: u64,
}

/// Features of the newest checkpoint on a random part of the images. `progress` is told how many of how many images
/// are done.
///
/// # Errors
/// There is no checkpoint, it does not fit the configuration, or an image has no class or cannot be read.
pub(super) fn embedding(run: &Run, images: &Images, progress: &dyn Fn(usize, usize)) -> Result<Embedding, EvalError> {
    let Images { train, test, samples, seed } = *images;
    let config = &run.config;
    let checkpoint = run.checkpoint()?;
    let encoder = Encoder::new(&config.model, Compute::default(), config.train.seed, &Device::Cpu)?;
    let named_file =
        |error: clsa_model::ModelError| EvalError::Run { path: checkpoint.clone(), reason: error.to_string() };
    let tensors = weights::read(&checkpoint).map_err(named_file)?.tensors;
    encoder.load_backbone(&tensors).map_err(named_file)?;
    let transform =
        EvalTransform { resize: config.eval.resize, crop: config.eval.crop, normalize: config.views.key.normalize };
    let (train_indices, test_indices) = (part(train.len(), 2 * samples, seed), part(test.len(), samples, seed));
    let total = train_indices.len() + test_indices.len();
    let features = |data: &dyn Dataset, indices: &[usize], before: usize| {
        extract(&encoder, data, indices, &transform, BATCH, &|done| progress(before + done, total))
    };
    let gallery = features(train, &train_indices, 0)?;
    let mapped = features(test, &test_indices, train_indices.len())?;
    gallery.check("training")?;
    mapped.check("test")?;

    // The subset is in order of the data set, which may be by class; queries are spread over it.
    let mut shown: Vec<usize> = (0..mapped.len()).collect();
    shown.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    shown.truncate(QUERIES);
    let wanted = Features {
        values: shown.iter().flat_map(|&i| mapped.row(i)).copied().collect(),
        dim: mapped.dim,
        labels: shown.iter().map(|&i| mapped.labels[i]).collect(),
    };
    let class = |label: u32| train.class_names().get(label as usize).cloned().unwrap_or_else(|| label.to_string());
    let mut augmenter = Augmenter::new();
    let mut thumbnail = |data: &dyn Dataset, split, index: usize| -> Result<Picture, EvalError> {
        let image = data.image(index)?;
        let failed = |source| EvalError::Transform { sample: data.name(index), source };
        let cut = transform.ops(image.width(), image.height()).map_err(failed)?;
        let image = augmenter.apply(&image, &cut).map_err(failed)?;
        Ok(Picture::of(&image, THUMBNAIL, named(data, split, index)))
    };
    let mut queries = Vec::new();
    for (neighbours, &query) in nearest(&gallery, &wanted, NEIGHBOURS)?.iter().zip(&shown) {
        let label = mapped.labels[query];
        let mut near = Vec::new();
        for neighbour in neighbours {
            let row = neighbour.index as usize;
            near.push(Neighbour {
                picture: thumbnail(train, Split::Train, train_indices[row])?,
                class: class(gallery.labels[row]),
                same: gallery.labels[row] == label,
                similarity: neighbour.similarity,
            });
        }
        let picture = thumbnail(test, Split::Test, test_indices[query])?;
        queries.push(Query { picture, class: class(label), neighbours: near });
    }
    let pca = pca(&mapped);
    let tsne = match &pca {
        Ok(pca) => tsne(&mapped, pca),
        Err(reason) => Err(reason.clone()),
    };
    let classes = train.class_names().to_vec();
    Ok(Embedding { classes, labels: mapped.labels, pca, tsne, queries, gallery: gallery.len() })
}

/// Up to `count` of `len` samples, drawn by the seed, in order.
fn part(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    indices.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    indices.truncate(count);
    indices.sort_unstable();
    indices
}
