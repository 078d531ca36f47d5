//! Features of center crops, kept on disk.

use super::extract::{batch_of_side, extract_into};
use super::file::FeatureFile;
use super::rows::FeatureShape;
use crate::{EvalError, Observer};
use clsa_augment::CenterCrop;
use clsa_data::Dataset;
use clsa_model::Encoder;
use serde_json::json;
use std::path::Path;

/// Images, each cut to its center, and the encoder that features of them are by.
#[derive(Clone, Copy)]
pub struct CenterCrops<'a> {
    /// The encoder.
    pub encoder: &'a Encoder,
    /// [`encoder_hash`](crate::hashes::encoder_hash) of it.
    pub encoder_sha256: &'a str,
    /// The images.
    pub images: &'a dyn Dataset,
    /// [`data_hash`](crate::hashes::data_hash) of them.
    pub images_sha256: &'a str,
    /// How they are cut and normalized.
    pub transform: &'a CenterCrop,
}

impl CenterCrops<'_> {
    /// The features of all images, from the file that is in `folder` or else made there, as [`FeatureFile::open_or_make`] does.
    /// `work` is what progress is shown of.
    ///
    /// # Errors
    /// An image or a file that is there cannot be read, the encoder fails, or the folder cannot be written.
    pub fn features(&self, folder: &Path, work: &str, observer: &dyn Observer) -> Result<FeatureFile, EvalError> {
        let indices: Vec<usize> = (0..self.images.len()).collect();
        let shown = ((work, "images"), observer);
        FeatureFile::open_or_make(folder, &self.key(), self.shape(), shown, |done, sink| {
            extract_into(self.encoder, self.images, &indices[done..], self.transform, self.batch(), sink)
        })
    }

    /// The features, where they were made before.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn features_if_made(&self, folder: &Path) -> Result<Option<FeatureFile>, EvalError> {
        FeatureFile::open_if_made(folder, &self.key(), self.shape())
    }

    /// The text that names their [`FeatureFile`].
    pub fn key(&self) -> String {
        // The spelling is that of the files on disk.
        format!("centre crops of {} of data {} by {}", json!(self.transform), self.images_sha256, self.encoder_sha256)
    }

    fn shape(&self) -> FeatureShape {
        FeatureShape { rows: self.images.len(), dim: self.encoder.feature_dim(), block: self.batch() }
    }

    fn batch(&self) -> usize {
        batch_of_side(self.transform.crop)
    }
}
