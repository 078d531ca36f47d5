//! Features of a run's encoder, seen: maps in two dimensions and nearest neighbours.

use super::drawn;
use super::picture::Picture;
use super::projection::{Pca, pca, tsne};
use super::views::{classes_of, named};
use crate::knn::nearest;
use crate::{
    EvalError, EvalTransform, FeatureFile, FeatureRows, Features, Run, center_crops, data_hash, encoder_hash,
    extract_into,
};
use candle_core::Device;
use clsa_augment::Augmenter;
use clsa_data::{Dataset, Split};
use clsa_model::{Compute, Encoder, weights};

/// Images of one pass through the encoder.
const BATCH: usize = 128;
/// Images whose neighbours are shown.
const QUERIES: usize = 8;
/// Neighbours shown of each.
const NEIGHBOURS: usize = 6;
/// Side of a neighbour's picture, pixels.
const THUMBNAIL: u32 = 96;
/// Images of the t-SNE map, which takes longer than all the rest where there are many.
const TSNE_IMAGES: usize = 2000;

/// What the encoder makes of images.
#[derive(Clone, Debug)]
pub(super) struct Embedding {
    /// Split of the maps' images and of the queries: the training split where there is no test split.
    pub split: Split,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Class of each image of the maps, where all have one.
    pub labels: Option<Vec<u32>>,
    pub pca: Result<Pca, String>,
    /// Of the first images that `pca` has.
    pub tsne: Result<Vec<[f64; 2]>, String>,
    pub queries: Vec<Query>,
    /// Training images among which neighbours were looked for.
    pub gallery: usize,
}

/// An image and the training images nearest to it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub picture: Picture,
    /// Its classes, or its name where it has none.
    pub name: String,
    /// Nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// A training image near a query.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    pub picture: Picture,
    /// Its classes, or its name where it has none.
    pub name: String,
    /// Whether it has a class that the query has; none where one of them has no class.
    pub same: Option<bool>,
    /// Cosine.
    pub similarity: f32,
}

/// The images that are looked at.
pub(super) struct Images<'a> {
    pub train: &'a dyn Dataset,
    pub test: Option<&'a dyn Dataset>,
    /// Images of the maps; neighbours are looked for among twice as many training images.
    pub samples: usize,
    pub seed: u64,
}

/// Features of the newest checkpoint on a random part of the images; those that an evaluation has left in the run are
/// taken from there. `progress` is told how many of how many images are done.
///
/// # Errors
/// There is no checkpoint, it does not fit the configuration, or an image cannot be read.
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

    let (split, mapped_of) = test.map_or((Split::Train, train), |test| (Split::Test, test));
    let gallery_indices = drawn(train.len(), 2 * samples, seed);
    let mapped_indices = drawn(mapped_of.len(), samples, seed);
    let total = gallery_indices.len() + mapped_indices.len();
    let encoder_sha256 = encoder_hash(&encoder)?;
    let features = |data: &dyn Dataset, indices: &[usize], split, before: usize| {
        let told = |done| progress(before + done, total);
        let of = center_crops(&transform, &data_hash(data, &|_| {})?, &encoder_sha256);
        let features = kept_or_extracted(run, &of, &encoder, data, indices, &transform, &told)?;
        features.check(split).map(|()| features)
    };
    let gallery = features(train, &gallery_indices, "training", 0)?;
    let mapped = features(mapped_of, &mapped_indices, "test", gallery_indices.len())?;

    let queries: Vec<usize> = (0..mapped.len().min(QUERIES)).collect();
    let wanted = first_rows(&mapped, queries.len());
    let mut augmenter = Augmenter::new();
    let mut thumbnail = |data: &dyn Dataset, split, index: usize| -> Result<Picture, EvalError> {
        let image = data.image(index)?;
        let failed = |source| EvalError::Transform { sample: data.name(index), source };
        let cut = transform.ops(image.width(), image.height()).map_err(failed)?;
        let image = augmenter.apply(&image, &cut).map_err(failed)?;
        Ok(Picture::of(&image, THUMBNAIL, named(data, split, index)))
    };
    let mut shown = Vec::new();
    for (near, query) in nearest(&gallery, &wanted, NEIGHBOURS + 1)?.iter().zip(queries) {
        let index = mapped_indices[query];
        let classes = classes_of(mapped_of, index);
        let mut neighbours = Vec::new();
        let others = near.iter().filter(|n| split == Split::Test || gallery_indices[n.index as usize] != index);
        for neighbour in others.take(NEIGHBOURS) {
            let index = gallery_indices[neighbour.index as usize];
            let own = classes_of(train, index);
            neighbours.push(Neighbour {
                picture: thumbnail(train, Split::Train, index)?,
                name: caption(train, index),
                same: (!own.is_empty() && !classes.is_empty()).then(|| own.iter().any(|class| classes.contains(class))),
                similarity: neighbour.similarity,
            });
        }
        let picture = thumbnail(mapped_of, split, index)?;
        shown.push(Query { picture, name: caption(mapped_of, index), neighbours });
    }
    let labels = mapped_indices.iter().map(|&index| mapped_of.label(index).class()).collect();
    let pca = pca(&mapped);
    let tsne = match &pca {
        Ok(pca) => tsne(&first_rows(&mapped, TSNE_IMAGES.min(mapped.len())), pca),
        Err(reason) => Err(reason.clone()),
    };
    let classes = train.class_names().to_vec();
    Ok(Embedding { split, classes, labels, pca, tsne, queries: shown, gallery: gallery.len() })
}

/// Features of the samples `indices`: rows of the file `of` that an evaluation of all samples has left in the run,
/// otherwise made by the encoder.
fn kept_or_extracted(
    run: &Run,
    of: &str,
    encoder: &Encoder,
    data: &dyn Dataset,
    indices: &[usize],
    transform: &EvalTransform,
    progress: &dyn Fn(usize),
) -> Result<Features, EvalError> {
    let dim = encoder.config().feature_dim();
    let mut values = Vec::with_capacity(indices.len() * dim);
    // A damaged file is the evaluation's to tell and to replace.
    if let Ok(Some(kept)) = FeatureFile::open_if_made(&run.folder.join("features"), of, [data.len(), dim]) {
        for &index in indices {
            values.extend_from_slice(&kept.rows(index..index + 1)?);
        }
        progress(indices.len());
    } else {
        extract_into(encoder, data, indices, transform, BATCH, &mut |rows| {
            values.extend_from_slice(rows);
            progress(values.len() / dim);
            Ok(())
        })?;
    }
    Ok(Features { values, dim, labels: vec![0; indices.len()] })
}

fn first_rows(features: &Features, count: usize) -> Features {
    Features {
        values: features.values[..count * features.dim].to_vec(),
        dim: features.dim,
        labels: features.labels[..count].to_vec(),
    }
}

/// The classes of a sample, or the last part of its name where it has none.
fn caption(data: &dyn Dataset, index: usize) -> String {
    let classes = classes_of(data, index);
    if !classes.is_empty() {
        return classes.join(", ");
    }
    let name = data.name(index);
    name.rsplit('/').next().unwrap_or_default().to_owned()
}
