//! Which folders of an image folder are its splits, by their names and by what is in them.
//!
//! A name alone does not tell: `train` is a training split, or a class of locomotives. A split has folders in it, one for
//! each class; a class has images.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Fault};
use crate::listing::{folders, has_images};
use crate::printable::printable;
use crate::split::{Role, Split, Stated};

/// Where the splits of an image folder are.
pub(super) struct Layout {
    /// The folder with the training classes.
    pub train: PathBuf,
    /// The folder of the test split, if there is one; it may lack folders by class.
    pub test: Option<PathBuf>,
}

/// A folder whose name states a split.
struct Named {
    name: String,
    path: PathBuf,
    role: Role,
    has_folders: bool,
}

impl Layout {
    pub(super) fn of(root: &Path) -> Result<Self, DataError> {
        let (mut named, mut both, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for folder in folders(root)? {
            let (name, path) = (folder.to_string_lossy().into_owned(), root.join(&folder));
            match Stated::by(&name) {
                Stated::Nothing => others.push(path),
                Stated::Both => both.push(path),
                Stated::One { role, alone } => {
                    let has_folders = !folders(&path)?.is_empty();
                    // `train_station` without folders in it is a class like any other.
                    if alone || has_folders {
                        named.push(Named { name, path, role, has_folders });
                    } else {
                        others.push(path);
                    }
                }
            }
        }
        let of = |split: Split| named.iter().filter(move |folder| folder.role.split() == split);
        let test = test_folder(root, &named)?;
        let with_folders: Vec<&Named> = of(Split::Train).filter(|folder| folder.has_folders).collect();
        if let Some(train) = one_of(root, &with_folders)? {
            if test.is_none() {
                refuse_classes_beside(train, &others)?;
                let test = others.into_iter().find(|path| states_test(path));
                return Ok(Self { train: train.path.clone(), test });
            }
            return Ok(Self { train: train.path.clone(), test });
        }
        if let Some(both) = both.iter().find(|path| folders(path).is_ok_and(|inside| !inside.is_empty())) {
            let reason =
                "has a name of more than one split; call the folders of the splits `train` and `val` or `test`";
            return Err(Fault::Layout.at(both, reason));
        }
        let (flat_train, any_test) = (of(Split::Train).next(), of(Split::Test).next());
        if let Some(train) = flat_train
            && (others.is_empty() || any_test.is_some())
        {
            let reason = if has_images(&train.path)? {
                "has images directly in it, not in folders by class; without labels, `flat:PATH` reads them"
            } else {
                "has no folders in it, one per class"
            };
            return Err(Fault::Layout.at(&train.path, reason));
        }
        if let Some(test) = any_test {
            let name = printable(&test.name);
            let reason = format!(
                "has a folder `{name}` but no folder `train`; if `{name}` is a class, move all classes to a folder `train`"
            );
            return Err(Fault::Layout.at(root, reason));
        }
        Ok(Self { train: root.into(), test: None })
    }
}

/// The folder of the test split: one with folders in it rather than one without, `val` rather than `test`.
fn test_folder(root: &Path, named: &[Named]) -> Result<Option<PathBuf>, DataError> {
    for has_folders in [true, false] {
        for &role in Split::Test.roles() {
            let found: Vec<&Named> =
                named.iter().filter(|folder| folder.role == role && folder.has_folders == has_folders).collect();
            if let Some(folder) = one_of(root, &found)? {
                return Ok(Some(folder.path.clone()));
            }
        }
    }
    Ok(None)
}

/// The one of these folders, or the one that is called exactly by the first word of its role that there is.
fn one_of<'a>(root: &Path, found: &[&'a Named]) -> Result<Option<&'a Named>, DataError> {
    let [first, rest @ ..] = found else { return Ok(None) };
    let exact = first.role.words().iter().find_map(|word| found.iter().find(|folder| folder.name == *word));
    match (exact, rest.first()) {
        (Some(exact), _) => Ok(Some(exact)),
        (None, None) => Ok(Some(first)),
        (None, Some(second)) => {
            let (a, b, word) = (printable(&first.name), printable(&second.name), first.role.words()[0]);
            let reason = format!("has the folders `{a}` and `{b}` for one split; call the one that counts `{word}`");
            Err(Fault::Layout.at(root, reason))
        }
    }
}

/// Refuses folders of images beside a folder `train` that may itself be a class, with folders in it.
fn refuse_classes_beside(train: &Named, others: &[PathBuf]) -> Result<(), DataError> {
    for other in others {
        if !states_test(other) && has_images(other)? {
            let name = printable(&train.name);
            let reason = format!(
                "is a folder of images beside `{name}`, which has folders in it; if `{name}` is the training split, name \
                 that folder itself; if it is a class, move all classes to a folder `train`"
            );
            return Err(Fault::Layout.at(other, reason));
        }
    }
    Ok(())
}

/// Whether the name of a folder states the test split.
fn states_test(path: &Path) -> bool {
    let stated = Stated::by(&path.file_name().unwrap_or_default().to_string_lossy());
    matches!(stated, Stated::One { role, .. } if role.split() == Split::Test)
}
