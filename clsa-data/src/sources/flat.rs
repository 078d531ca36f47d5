//! `flat:PATH`: a folder of images without labels, searched recursively.

use std::path::Path;
use std::sync::Arc;

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::image_files::ImageFiles;
use crate::label::Labels;
use crate::listing::Listing;
use crate::split::Split;

pub(super) static SPEC: Spec = Spec {
    name: "flat",
    argument: Argument::Place("PATH"),
    summary: "images without labels",
    details: "a folder that is searched recursively; a training split only",
    feature: None,
    open: Some(|path, split, limits| Ok(Arc::new(open(Path::new(path), split, limits)?))),
};

/// Opens the training split, the only one there is.
fn open(root: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    if split == Split::Test {
        return Err(DataError::no_split(split, root, "a flat folder has no labels and so no test split"));
    }
    if !root.is_dir() {
        return Err(Fault::Missing.at(root, "is not a folder that can be read"));
    }
    let mut listing = Listing::new(root);
    if listing.add_folder("")? == 0 {
        return Err(Fault::Empty.at(root, "has no image files in it"));
    }
    let notes = Vec::from_iter(listing.note());
    Ok(ImageFiles { listing, classes: Vec::new(), labels: Labels::None, notes, limits })
}
