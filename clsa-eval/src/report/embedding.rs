//! Features of a run's encoder, seen: maps in two dimensions and nearest neighbors.

use super::Part;
use super::projection::{Pca, pca, tsne};
use super::queries::{Query, queries};
use super::sampled::{Sampled, first_rows};
use crate::features::{CenterCrops, FeatureFile, Features, batch_of_side, extract_into, picked, unusable};
use crate::hashes::{data_hash, encoder_hash};
use crate::{EvalError, Observer, random_subset};
use candle_core::Device;
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Split};
use clsa_model::{Compute, Encoder, ModelError, weights};
use clsa_run::{Config, RunFolder};
use std::fs;
use std::path::PathBuf;

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
    pub pca: Part<Pca>,
    /// Of the first images that `pca` has.
    pub tsne: Part<Vec<[f64; 2]>>,
    pub queries: Vec<Query>,
    /// Training images among which neighbors were looked for.
    pub gallery: usize,
}

/// The images that are looked at.
pub(super) struct Images<'a> {
    pub train: &'a dyn Dataset,
    pub test: Option<&'a dyn Dataset>,
    /// Images of the maps; neighbors are looked for among twice as many training images.
    pub samples: usize,
    pub seed: u64,
}

/// Features of the newest checkpoint on a random part of the images; reuses the features that an evaluation has cached in
/// the run.
///
/// # Errors
/// There is no checkpoint, it does not fit the configuration, or an image cannot be read.
pub(super) fn embedding(
    folder: &RunFolder,
    config: &Config,
    images: &Images,
    observer: &dyn Observer,
) -> Result<Embedding, EvalError> {
    let Images { train, test, samples, seed } = *images;
    let extractor = NewestEncoder::of(folder, config)?;
    let (split, mapped) = test.map_or((Split::Train, train), |test| (Split::Test, test));
    let (gallery_indices, mapped_indices) =
        (random_subset(train.len(), 2 * samples, seed), random_subset(mapped.len(), samples, seed));
    let made_of_train = extractor.made_before("training", train, observer)?;
    let made_of_test = test.map(|test| extractor.made_before("test", test, observer)).transpose()?;
    let made_of_mapped = made_of_test.as_ref().unwrap_or(&made_of_train).as_ref();
    let named = folder.path().file_name().unwrap_or_default().to_string_lossy();
    let progress = observer.begin(&format!("features, {named}"), "images");
    let before = gallery_indices.len();
    let total = (before + mapped_indices.len()) as u64;
    let at = |done: usize| progress(done as u64, total);
    let (gallery_indices, gallery) =
        extractor.of_usable(train, gallery_indices, made_of_train.as_ref(), &at, observer)?;
    gallery.check("training")?;
    let (mapped_indices, features) =
        extractor.of_usable(mapped, mapped_indices, made_of_mapped, &|done| at(before + done), observer)?;
    features.check(if split == Split::Test { "test" } else { "training" })?;
    drop(progress);
    let gallery = Sampled { data: train, split: Split::Train, indices: gallery_indices, features: gallery };
    let mapped = Sampled { data: mapped, split, indices: mapped_indices, features };

    let labels = mapped.indices.iter().map(|&index| mapped.data.label(index).class()).collect();
    let pca = pca(&mapped.features);
    let tsne = match &pca {
        Ok(pca) => tsne(&first_rows(&mapped.features, TSNE_IMAGES), pca),
        Err(reason) => Err(reason.clone()),
    };
    Ok(Embedding {
        split,
        classes: train.class_names().to_vec(),
        labels,
        pca,
        tsne,
        queries: queries(&mapped, &gallery, &extractor.transform)?,
        gallery: gallery.features.len(),
    })
}

/// The newest encoder of a run, and where an evaluation of it keeps features.
struct NewestEncoder {
    encoder: Encoder,
    sha256: String,
    transform: CenterCrop,
    cache: PathBuf,
}

impl NewestEncoder {
    fn of(folder: &RunFolder, config: &Config) -> Result<Self, EvalError> {
        let checkpoint = folder.newest_checkpoint()?;
        let encoder = Encoder::new(&config.model, Compute::default(), config.train.seed, &Device::Cpu)?;
        let unusable = |source: ModelError| EvalError::Weights { path: checkpoint.clone(), source };
        let tensors = weights::read(&checkpoint).map_err(unusable)?.tensors;
        encoder.load_backbone(&tensors).map_err(unusable)?;
        let transform = config.center_crop();
        Ok(Self { sha256: encoder_hash(&encoder)?, encoder, transform, cache: folder.path().join("features") })
    }

    /// The features of all of these images that an evaluation has left in the run. Where it has left none of any, the images are
    /// not read to find that out.
    fn made_before(
        &self,
        split: &str,
        images: &dyn Dataset,
        observer: &dyn Observer,
    ) -> Result<Option<FeatureFile>, EvalError> {
        if !fs::read_dir(&self.cache).is_ok_and(|mut files| files.next().is_some()) {
            return Ok(None);
        }
        let progress = observer.begin(&format!("{split} images, content"), "images");
        let images_sha256 = match data_hash(images, &progress) {
            Ok(hash) => hash,
            // No evaluation has left features of these images: it would have ended at this one, too.
            Err(error) if error.is_of_image() => return Ok(None),
            Err(error) => return Err(error),
        };
        let crops = CenterCrops {
            encoder: &self.encoder,
            encoder_sha256: &self.sha256,
            images,
            images_sha256: &images_sha256,
            transform: &self.transform,
        };
        // A damaged file is the evaluation's to report and to replace.
        Ok(crops.features_if_made(&self.cache).ok().flatten())
    }

    /// Features of those of the samples `indices` of which some can be made, as training leaves out the others.
    fn of_usable(
        &self,
        data: &dyn Dataset,
        mut indices: Vec<usize>,
        made: Option<&FeatureFile>,
        progress: &dyn Fn(usize),
        observer: &dyn Observer,
    ) -> Result<(Vec<usize>, Features), EvalError> {
        let error = match self.features(data, &indices, made, progress) {
            Err(error) if error.is_of_image() => error,
            result => return Ok((indices, result?)),
        };
        let bad = unusable(data, &indices, &self.transform, || ())?;
        indices.retain(|index| bad.iter().all(|(bad, _)| bad != index));
        if indices.is_empty() {
            return Err(error);
        }
        for (_, reason) in &bad {
            observer.warning(&format!("left out of the maps and neighbors: {reason}"));
        }
        let features = self.features(data, &indices, made, progress)?;
        Ok((indices, features))
    }

    /// Features of the samples `indices`: rows of what was `made` of all, otherwise made by the encoder.
    fn features(
        &self,
        data: &dyn Dataset,
        indices: &[usize],
        made: Option<&FeatureFile>,
        progress: &dyn Fn(usize),
    ) -> Result<Features, EvalError> {
        let dim = self.encoder.feature_dim();
        let labels = vec![0; indices.len()];
        if let Some(made) = made {
            let values = picked(made, indices)?;
            progress(indices.len());
            return Ok(Features { values, dim, labels });
        }
        let mut values = Vec::with_capacity(indices.len() * dim);
        let batch = batch_of_side(self.transform.crop);
        extract_into(&self.encoder, data, indices, &self.transform, batch, &mut |rows| {
            values.extend_from_slice(rows);
            progress(values.len() / dim);
            Ok(())
        })?;
        Ok(Features { values, dim, labels })
    }
}
