//! Lists of image files, held compactly: 1.3 million names take some 50 MB.
//!
//! All names are one text, with the end of each in it: a `PathBuf` for each would more than double that, and cost an
//! allocation.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::error::{DataError, Fault};
use crate::printable::printable_path;

/// Extensions, in lower case, of files that are taken for images.
const EXTENSIONS: [&str; 13] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "pbm", "pgm", "ppm", "tif", "tiff"];

/// Whether a file name has the extension of an image, in upper or lower case.
pub(crate) fn is_image(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Whether a file or folder of this name is hidden.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a walk is to meet what it has found: all that is not hidden, and the folder that it begins in.
pub(crate) fn is_visible(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !is_hidden(entry.file_name())
}

/// Whether a walk has met a link that leads nowhere.
pub(crate) fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Paths of image files below a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    root: PathBuf,
    /// All paths, relative to the root, one after the other, as the system writes them.
    names: Vec<u8>,
    /// End of each path in `names`.
    ends: Vec<u32>,
    /// Links that lead nowhere, passed over.
    dangling: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into(), names: Vec::new(), ends: Vec::new(), dangling: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Path of a file.
    pub(crate) fn path(&self, index: usize) -> PathBuf {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.root.join(from_bytes(&self.names[start..self.ends[index] as usize]))
    }

    /// Adds one file by its path relative to the root.
    pub(crate) fn push(&mut self, name: impl AsRef<OsStr>) -> Result<(), DataError> {
        let name = name.as_ref();
        let Some(bytes) = to_bytes(name) else {
            return Err(Fault::Unsupported.at(self.root.join(name), "its name is not valid Unicode"));
        };
        self.names.extend_from_slice(bytes);
        let end = u32::try_from(self.names.len())
            .map_err(|_| Fault::Unsupported.at(&self.root, "its file names take more than 4 GiB"))?;
        self.ends.push(end);
        Ok(())
    }

    /// Adds every image below `folder` (relative to the root), at any depth: by folder, then by name, as torchvision's
    /// `make_dataset` orders them. Symbolic links are followed, hidden files and folders ignored. Returns how many.
    pub(crate) fn add_folder(&mut self, folder: impl AsRef<Path>) -> Result<usize, DataError> {
        let top = self.root.join(folder);
        let mut found: Vec<(OsString, usize)> = Vec::new();
        for entry in WalkDir::new(&top).follow_links(true).into_iter().filter_entry(is_visible) {
            let entry = match entry {
                Ok(entry) => entry,
                // A dangling link is no file of the data set. Anything else is a folder that cannot be listed.
                Err(error) if error.depth() > 0 && is_dangling(&error) => {
                    self.dangling.extend(error.path().map(Path::to_owned));
                    continue;
                }
                Err(error) => {
                    let path = error.path().unwrap_or(&top).to_path_buf();
                    if let Some(ancestor) = error.loop_ancestor() {
                        let reason = format!("a link that leads back to {}", printable_path(ancestor));
                        return Err(Fault::Layout.at(path, reason));
                    }
                    return Err(match error.into_io_error() {
                        Some(error) => DataError::Read { path, error },
                        None => Fault::Missing.at(path, "cannot be listed"),
                    });
                }
            };
            if !entry.file_type().is_file() {
                continue;
            }
            if is_image(&entry.file_name().to_string_lossy()) {
                let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
                let name = path.as_os_str().to_owned();
                // A folder counts without the separator behind it, which would come after `-` and the like.
                let folder = name.len() - entry.file_name().len();
                found.push((name, folder.saturating_sub(1)));
            }
        }
        found.sort_by(|(a, folder_a), (b, folder_b)| {
            let (a, b) = (a.as_encoded_bytes(), b.as_encoded_bytes());
            python_order(&a[..*folder_a], &b[..*folder_b]).then_with(|| python_order(&a[*folder_a..], &b[*folder_b..]))
        });
        for (name, _) in &found {
            self.push(name)?;
        }
        Ok(found.len())
    }

    /// Passes over the links directly in `folder` that lead nowhere.
    pub(crate) fn pass_over_dangling(&mut self, folder: &Path) -> Result<(), DataError> {
        for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
            let entry = entry.map_err(DataError::read(folder))?;
            if !is_hidden(&entry.file_name()) && entry.path().is_symlink() && !entry.path().exists() {
                self.dangling.push(entry.path());
            }
        }
        Ok(())
    }

    /// What was passed over, in a sentence; none where there is nothing.
    pub(crate) fn note(&self) -> Option<String> {
        let first = printable_path(self.dangling.iter().min()?);
        Some(match self.dangling.len() {
            1 => format!("a link that leads nowhere is passed over: {first}"),
            count => format!("{count} links that lead nowhere are passed over, such as {first}"),
        })
    }
}

/// Names of the folders directly below `root`, in the order of torchvision; links to folders count, hidden ones do not.
pub(crate) fn folders(root: &Path) -> Result<Vec<OsString>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(DataError::read(root))? {
        let entry = entry.map_err(DataError::read(root))?;
        let name = entry.file_name();
        if !is_hidden(&name) && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort_by(|a, b| python_order(a.as_encoded_bytes(), b.as_encoded_bytes()));
    Ok(names)
}

/// Whether images are directly in a folder; hidden ones do not count.
pub(crate) fn has_images(folder: &Path) -> Result<bool, DataError> {
    for entry in std::fs::read_dir(folder).map_err(DataError::read(folder))? {
        let entry = entry.map_err(DataError::read(folder))?;
        let name = entry.file_name();
        if !is_hidden(&name) && is_image(&name.to_string_lossy()) && entry.path().is_file() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The order of Python's `sorted` on names: by code point, where a byte that is not UTF-8 is the surrogate that Python
/// reads it as (PEP 383).
pub(crate) fn python_order(a: &[u8], b: &[u8]) -> Ordering {
    match (str::from_utf8(a), str::from_utf8(b)) {
        (Ok(a), Ok(b)) => a.cmp(b),
        _ => code_points(a).cmp(code_points(b)),
    }
}

fn code_points(name: &[u8]) -> impl Iterator<Item = u32> {
    name.utf8_chunks().flat_map(|chunk| {
        let surrogates = chunk.invalid().iter().map(|&byte| 0xdc00 + u32::from(byte));
        chunk.valid().chars().map(u32::from).chain(surrogates)
    })
}

#[cfg(unix)]
fn to_bytes(name: &OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

#[cfg(unix)]
fn from_bytes(bytes: &[u8]) -> Cow<'_, Path> {
    Cow::Borrowed(Path::new::<OsStr>(std::os::unix::ffi::OsStrExt::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn to_bytes(name: &OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

#[cfg(not(unix))]
fn from_bytes(bytes: &[u8]) -> Cow<'_, Path> {
    Cow::Owned(String::from_utf8_lossy(bytes).into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_pythons_sorted() {
        // sorted(os.listdir(".")) of Python 3.12 for these names.
        let mut names: [&[u8]; 6] =
            [b"caf\xe9", "\u{e000}".as_bytes(), b"cafe", "caf\u{ff}".as_bytes(), "caf🦀".as_bytes(), b"Z"];
        names.sort_by(|a, b| python_order(a, b));
        let expected: [&[u8]; 6] =
            [b"Z", b"cafe", "caf\u{ff}".as_bytes(), b"caf\xe9", "caf🦀".as_bytes(), "\u{e000}".as_bytes()];
        assert_eq!(names, expected);
    }
}
