//! Image files in folders, with the labels that their source gives them.

use image::RgbImage;

use crate::dataset::{Dataset, Encoded};
use crate::label::{Label, Labels};
use crate::listing::Listing;
use crate::sample_error::SampleError;

/// One split of a source of image files.
pub(crate) struct ImageFiles {
    pub listing: Listing,
    pub classes: Vec<String>,
    pub labels: Labels,
    pub notes: Vec<String>,
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
        self.listing.image(index)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        self.listing.dimensions(index)
    }

    fn name(&self, index: usize) -> String {
        self.listing.name(index)
    }

    fn encoded(&self, index: usize) -> Result<Option<Encoded>, SampleError> {
        self.listing.encoded(index).map(Some)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
