//! `flat:PATH`: a folder of images without labels, searched recursively.

use std::path::Path;

use crate::dataset::Split;
use crate::decode::Limits;
use crate::error::DataError;
use crate::image_files::{ImageFiles, Labels};
use crate::listing::Listing;

/// Opens the training split, the only one there is.
pub(crate) fn open(root: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
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
    Ok(ImageFiles { listing, classes: Vec::new(), labels: Labels::None })
}
