//! `imagefolder:PATH`: folders of images, one for each class, ordered as torchvision's `ImageFolder` orders them.

use std::path::Path;
use std::sync::Arc;

use super::spec::{Argument, Spec};
use crate::decode::Limits;
use crate::error::{DataError, Fault};
use crate::image_files::{ImageFiles, Labels};
use crate::label::Labeling;
use crate::listing::{Listing, folders};
use crate::split::Split;

pub(super) static SPEC: Spec = Spec {
    name: "imagefolder",
    argument: Argument::Place("PATH"),
    summary: "folders of images, one for each class",
    details: "`train/CLASS/…` and `val/CLASS/…` or `test/CLASS/…`, ordered as torchvision's `ImageFolder`; a folder with \
              the classes directly in it is a training split only",
    labeling: Some(Labeling::Class),
    feature: None,
    open: Some(|path, split, limits| Ok(Arc::new(open(Path::new(path), split, limits)?))),
};

/// The folder of a split below `root`, if there is one.
fn split_folder(root: &Path, split: Split) -> Option<&'static str> {
    split.names().iter().copied().find(|name| root.join(name).is_dir())
}

/// Opens a split. Class ids are positions in the sorted names of the training classes, also for the test split.
/// A folder with no `train` in it is taken for the training split itself.
fn open(root: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    if !root.is_dir() {
        return Err(Fault::Missing.at(root, "is not a folder that can be read"));
    }
    let train = split_folder(root, Split::Train);
    let test = split_folder(root, Split::Test);
    let (train, folder) = match (train, split, test) {
        (Some(train), Split::Train, _) => (root.join(train), root.join(train)),
        (Some(train), Split::Test, Some(test)) => (root.join(train), root.join(test)),
        (None, Split::Train, None) => (root.to_path_buf(), root.to_path_buf()),
        (None, Split::Train, Some(test)) => {
            return Err(Fault::Layout.at(root, format!("has a folder `{test}` but no folder `train`")));
        }
        (_, Split::Test, None) => {
            return Err(DataError::no_split(split, root, "has no folder `val` or `test`, and so no test split"));
        }
        (None, Split::Test, Some(test)) => (root.join(test), root.join(test)),
    };
    let classes = folders(&train)?;
    if classes.is_empty() {
        return Err(Fault::Layout.at(train, "has no folders in it, one per class"));
    }
    let mut listing = Listing::new(&folder, limits);
    let mut labels = Vec::new();
    for class in folders(&folder)? {
        let Ok(label) = classes.binary_search(&class) else {
            let reason = format!("is a class that {} does not have", train.display());
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
    Ok(ImageFiles { listing, classes, labels: Labels::Class(labels) })
}
