//! `imagefolder:PATH`: `train/CLASS/…` and `val/CLASS/…` or `test/CLASS/…`, as torchvision's `ImageFolder` reads them.

use std::path::Path;

use crate::dataset::Split;
use crate::decode::Limits;
use crate::error::DataError;
use crate::image_files::{ImageFiles, Labels};
use crate::listing::{Listing, folders};

/// The folder of a split below `root`, if there is one.
fn split_folder(root: &Path, split: Split) -> Option<&'static str> {
    split.names().iter().copied().find(|name| root.join(name).is_dir())
}

/// Opens a split. Class ids are positions in the sorted names of the training classes, also for the test split.
/// A folder with no `train` in it is taken for the training split itself.
pub(crate) fn open(root: &Path, split: Split, limits: Limits) -> Result<ImageFiles, DataError> {
    if !root.is_dir() {
        return Err(DataError::refused(root, "is not a folder that can be read"));
    }
    let train = split_folder(root, Split::Train);
    let test = split_folder(root, Split::Test);
    let (train, folder) = match (train, split, test) {
        (Some(train), Split::Train, _) => (root.join(train), root.join(train)),
        (Some(train), Split::Test, Some(test)) => (root.join(train), root.join(test)),
        (None, Split::Train, None) => (root.to_path_buf(), root.to_path_buf()),
        (None, Split::Train, Some(test)) => {
            return Err(DataError::refused(root, format!("has a folder `{test}` but no folder `train`")));
        }
        (_, Split::Test, None) => {
            return Err(DataError::no_split(split, root, "has no folder `val` or `test`, and so no test split"));
        }
        (None, Split::Test, Some(test)) => (root.join(test), root.join(test)),
    };
    let classes = folders(&train)?;
    if classes.is_empty() {
        return Err(DataError::refused(train, "has no folders in it, one per class"));
    }
    let mut listing = Listing::new(&folder, limits);
    let mut labels = Vec::new();
    for class in folders(&folder)? {
        let Ok(label) = classes.binary_search(&class) else {
            return Err(DataError::refused(
                folder.join(&class),
                format!("is a class that {} does not have", train.display()),
            ));
        };
        let found = listing.add_folder(&class)?;
        if found == 0 {
            return Err(DataError::refused(folder.join(&class), "is a class with no image files in it"));
        }
        labels.resize(labels.len() + found, label as u32);
    }
    if labels.is_empty() {
        return Err(DataError::refused(folder, "has no image files in it"));
    }
    Ok(ImageFiles { listing, classes, labels: Labels::Class(labels) })
}
