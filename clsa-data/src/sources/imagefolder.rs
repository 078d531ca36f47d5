//! `imagefolder:PATH`: folders of images, one for each class, ordered as torchvision's `ImageFolder` orders them.

mod layout;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::image_files::ImageFiles;
use crate::label::Labels;
use crate::listing::{Listing, folders, has_images, python_order};
use crate::printable::{printable_path, text_of};
use crate::split::Split;
use layout::Layout;

pub(super) static SPEC: Spec = Spec {
    name: "imagefolder",
    argument: Argument::Place("PATH"),
    summary: "folders of images, one for each class",
    details: "`train/CLASS/…` and `val/CLASS/…` or `test/CLASS/…`, ordered as torchvision's `ImageFolder`; a folder with \
              the classes directly in it is a training split only",
    feature: None,
    open: Some(|path, split, limits| Ok(Arc::new(open(Path::new(path), split, limits)?))),
};

/// Opens a split. Class ids are positions in the sorted names of the training classes, also for the test split.
fn open(root: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    if !root.is_dir() {
        return Err(Fault::Missing.at(root, "is not a folder that can be read"));
    }
    let Layout { train, test } = Layout::of(root)?;
    let folder = match split {
        Split::Train => train.clone(),
        Split::Test => {
            test.ok_or_else(|| DataError::no_split(split, root, "has no folder `val` or `test`, and so no test split"))?
        }
    };
    let classes = folders(&train)?;
    if classes.is_empty() {
        return Err(Fault::Layout.at(train, "has no folders in it, one per class"));
    }
    let found = folders(&folder)?;
    if split == Split::Test && found.is_empty() && has_images(&folder)? {
        let reason = "has images directly in it, not in folders by class, and so there is no test split";
        return Err(DataError::no_split(split, folder, reason));
    }
    if split == Split::Test && !found.is_empty() && !found.iter().any(|class| classes.contains(class)) {
        let reason = format!(
            "has none of the classes of {}, only folders such as `{}`, and so there is no test split",
            printable_path(train),
            printable_path(&found[0])
        );
        return Err(DataError::no_split(split, folder, reason));
    }
    let mut listing = Listing::new(&folder);
    // One of them may have been a class.
    listing.pass_over_dangling(&folder)?;
    let mut labels = Vec::new();
    for class in found {
        let order = |known: &OsString| python_order(known.as_encoded_bytes(), class.as_encoded_bytes());
        let Ok(label) = classes.binary_search_by(order) else {
            let reason = format!("is a class that {} does not have", printable_path(train));
            return Err(Fault::Labels.at(folder.join(&class), reason));
        };
        let found = listing.add_folder(&class)?;
        if found == 0 {
            return Err(Fault::Empty.at(folder.join(&class), "is a class with no image files in it"));
        }
        labels.resize(labels.len() + found, label as u32);
    }
    if labels.is_empty() {
        return Err(Fault::Empty.at(folder, "has no image files in it"));
    }
    let classes = classes.iter().map(|class| text_of(class).into_owned()).collect();
    let notes = Vec::from_iter(listing.note());
    Ok(ImageFiles { listing, classes, labels: Labels::Class(labels), notes, limits })
}
