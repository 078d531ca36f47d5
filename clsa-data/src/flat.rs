//! `flat:PATH`: a folder of images without labels, searched recursively.

use std::path::Path;

use image::RgbImage;

use crate::dataset::{Dataset, Encoded, Label, Split};
use crate::decode::Limits;
use crate::error::{DataError, SampleError};
use crate::listing::Listing;

/// Images without labels.
pub(crate) struct Flat {
    listing: Listing,
}

impl Flat {
    pub(crate) fn open(root: &Path, split: Split, limits: Limits) -> Result<Self, DataError> {
        if split == Split::Test {
            return Err(DataError::no_split(split, root, "a flat folder has no labels and so no test split"));
        }
        if !root.is_dir() {
            return Err(DataError::refused(root, "is not a folder that can be read"));
        }
        let mut listing = Listing::new(root, limits);
        if listing.add_folder("")? == 0 {
            return Err(DataError::refused(root, "has no image files in it"));
        }
        Ok(Self { listing })
    }
}

impl Dataset for Flat {
    fn len(&self) -> usize {
        self.listing.len()
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, _index: usize) -> Label {
        Label::None
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
}
