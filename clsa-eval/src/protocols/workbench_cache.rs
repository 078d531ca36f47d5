//! What a workbench keeps on disk: features, and the state of interrupted trainings.

use super::feature_set::{FeatureSet, LabeledFeatures};
use super::workbench::{ComparedEncoder, Workbench};
use crate::EvalError;
use crate::evaluation::EncoderKind;
use crate::features::{CenterCrops, FeatureFile, FeatureShape, Labeled, raw_pixels_into};
use clsa_data::Dataset;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Larger images are made this small for the baseline of raw pixels.
const RAW_SIDE: u32 = 32;

impl Workbench<'_> {
    /// Features of center crops by the encoders and, where there are two, raw pixels, in the order of [`EncoderKind::ALL`].
    ///
    /// # Errors
    /// An image or features that are there cannot be read, an encoder fails, or the folder of features cannot be written.
    pub fn features(&self) -> Result<&[FeatureSet], EvalError> {
        if let Some(made) = self.features.get() {
            return Ok(made);
        }
        let made = self.center_crop_features()?;
        Ok(self.features.get_or_init(|| made))
    }

    /// As [`Workbench::features`], with the class of each image.
    ///
    /// # Errors
    /// Also if there are no test images, or an image has not exactly one class.
    pub fn labeled_features(&self) -> Result<Vec<LabeledFeatures<'_>>, EvalError> {
        let labels = self.data().labels()?;
        (self.features()?.iter())
            .map(|set| {
                let test = set.test.as_ref().ok_or(EvalError::Empty("test"))?;
                let train = Labeled { rows: &set.train, labels: &labels.train };
                Ok(LabeledFeatures { kind: set.kind, train, test: Labeled { rows: test, labels: &labels.test } })
            })
            .collect()
    }

    /// Features from the file in the cache that is named by the text `of`, or made by `make` as
    /// [`FeatureFile::open_or_make`] says.
    ///
    /// # Errors
    /// Those of `make`; a file that is there cannot be read, or the folder cannot be written.
    pub fn cached_features(
        &self,
        work: (&str, &'static str),
        of: &str,
        shape: FeatureShape,
        make: impl FnOnce(usize, &mut dyn FnMut(&[f32]) -> Result<(), EvalError>) -> Result<(), EvalError>,
    ) -> Result<FeatureFile, EvalError> {
        FeatureFile::open_or_make(&self.feature_folder(), of, shape, (work, self.observer()), make)
    }

    /// The file that keeps an interrupted training of the protocol of this name on this encoder, these training images and this
    /// configuration. Where it is there already, the observer gets a note that the training goes on from it.
    pub fn state_file(
        &self,
        protocol: &str,
        encoder: &ComparedEncoder,
        train_sha256: &str,
        config: &impl Serialize,
    ) -> PathBuf {
        let key = json!([encoder.sha256, train_sha256, self.transform(), config]).to_string();
        let key = base16ct::lower::encode_string(&Sha256::digest(key)[..8]);
        let state = self.cache.join(protocol).join(format!("{key}.safetensors"));
        if state.exists() {
            self.observer().note(&format!("{protocol}, {}: goes on from {}", encoder.kind, state.display()));
        }
        state
    }

    /// The side of the images whose pixels are the baseline without an encoder.
    pub(super) fn raw_side(&self) -> u32 {
        self.transform().crop.min(RAW_SIDE)
    }

    fn feature_folder(&self) -> PathBuf {
        self.cache.join("features")
    }

    fn center_crop_features(&self) -> Result<Vec<FeatureSet>, EvalError> {
        let mut sets = Vec::new();
        for compared in self.encoders() {
            sets.push(self.both_splits(compared.kind, |split, images, sha256| {
                let crops = CenterCrops {
                    encoder: compared.encoder,
                    encoder_sha256: &compared.sha256,
                    images,
                    images_sha256: sha256,
                    transform: self.transform(),
                };
                crops.features(&self.feature_folder(), &format!("{split}, {}", compared.kind), self.observer())
            })?);
        }
        if !self.has_baselines() {
            return Ok(sets);
        }
        let side = self.raw_side();
        sets.push(self.both_splits(EncoderKind::RawPixels, |split, images, sha256| {
            let of = format!("pixels of {side} x {side} of data {sha256}");
            let indices: Vec<usize> = (0..images.len()).collect();
            let shape = FeatureShape { rows: indices.len(), dim: 3 * side as usize * side as usize, block: 1 };
            self.cached_features((&format!("{split}, pixels"), "images"), &of, shape, |done, sink| {
                raw_pixels_into(images, &indices[done..], side, sink)
            })
        })?);
        Ok(sets)
    }

    /// Features of each split, made from its name, images and hash.
    fn both_splits(
        &self,
        kind: EncoderKind,
        make: impl Fn(&str, &dyn Dataset, &str) -> Result<FeatureFile, EvalError>,
    ) -> Result<FeatureSet, EvalError> {
        let train = make("training", self.data().train().as_ref(), self.train_sha256())?;
        let test = match (self.data().test(), self.test_sha256()) {
            (Ok(test), Some(sha256)) => Some(make("test", test.as_ref(), sha256)?),
            (Ok(_) | Err(_), _) => None,
        };
        Ok(FeatureSet { kind, train, test })
    }
}
