//! Image files in folders, with the labels that their source gives them.

use std::io::BufReader;

use image::RgbImage;

use crate::dataset::{Dataset, Encoded};
use crate::decode::{Limits, decode_file, header};
use crate::label::{Label, Labels};
use crate::listing::Listing;
use crate::printable::{name_of, printable_path};
use crate::sample_error::SampleError;

/// One split of a source of image files.
pub(crate) struct ImageFiles {
    pub listing: Listing,
    pub classes: Vec<String>,
    pub labels: Labels,
    pub notes: Vec<String>,
    pub limits: Limits,
}

impl Dataset for ImageFiles {
    fn len(&self) -> usize {
        self.listing.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Label {
        self.labels.get(index)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        decode_file(&self.listing.path(index), &self.limits)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        let path = self.listing.path(index);
        let (file, _) = self.limits.open(&path)?;
        header(BufReader::new(file), &printable_path(path), &self.limits)
    }

    fn name(&self, index: usize) -> String {
        name_of(self.listing.path(index))
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        let path = self.listing.path(index);
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Ok(Some(Encoded { bytes: self.limits.read(&path)?, extension }))
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
