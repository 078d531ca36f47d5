//! Lists of image files, held compactly: 1.3 million names take some 50 MB.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::dataset::Encoded;
use crate::decode::Limits;
use crate::error::{DataError, SampleError};

/// Extensions, in lower case, of files that are taken for images.
const EXTENSIONS: [&str; 13] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "pbm", "pgm", "ppm", "tif", "tiff"];

/// Whether a file name has the extension of an image, in upper or lower case.
pub(crate) fn is_image(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Paths of image files below a folder.
#[derive(Debug)]
pub(crate) struct Listing {
    root: PathBuf,
    /// All paths, relative to the root, one after the other.
    names: String,
    /// End of each path in `names`.
    ends: Vec<u32>,
}

impl Listing {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into(), names: String::new(), ends: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.names[start..self.ends[index] as usize]
    }

    /// Adds one file by its path relative to the root.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), DataError> {
        self.names.push_str(name);
        let end = u32::try_from(self.names.len())
            .map_err(|_| DataError::refused(&self.root, "its file names take more than 4 GiB"))?;
        self.ends.push(end);
        Ok(())
    }

    /// Adds every image below `folder` (relative to the root), at any depth: by folder, then by name, as torchvision's
    /// `make_dataset` orders them. Symbolic links are followed, hidden files and folders ignored. Returns how many.
    pub(crate) fn add_folder(&mut self, folder: &str) -> Result<usize, DataError> {
        let top = self.root.join(folder);
        let mut found: Vec<(String, usize)> = Vec::new();
        let visible =
            |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
        for entry in WalkDir::new(&top).follow_links(true).into_iter().filter_entry(visible) {
            let entry = match entry {
                Ok(entry) => entry,
                // A dangling link is no file of the data set. Anything else is a folder that cannot be listed.
                Err(error) if error.depth() > 0 && is_dangling(&error) => continue,
                Err(error) => {
                    let path = error.path().unwrap_or(&top).to_path_buf();
                    let reason = match error.loop_ancestor() {
                        Some(ancestor) => format!("a link that leads back to {}", ancestor.display()),
                        None => error.io_error().map_or("cannot be listed".to_string(), ToString::to_string),
                    };
                    return Err(DataError::refused(path, reason));
                }
            };
            if !entry.file_type().is_file() {
                continue;
            }
            let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
            let Some(name) = path.to_str() else {
                return Err(DataError::refused(entry.path(), "its name is not valid UTF-8"));
            };
            if is_image(name) {
                let folder = name.rfind(std::path::MAIN_SEPARATOR).map_or(0, |at| at + 1);
                found.push((name.to_string(), folder));
            }
        }
        found.sort_by(|a, b| (&a.0[..a.1], &a.0[a.1..]).cmp(&(&b.0[..b.1], &b.0[b.1..])));
        for (name, _) in &found {
            self.push(name)?;
        }
        Ok(found.len())
    }

    /// Reads a file, up to the limit of bytes.
    pub(crate) fn read(&self, index: usize, limits: &Limits) -> Result<Vec<u8>, SampleError> {
        let name = self.name(index);
        let failed = |error| SampleError::Read { name: name.into(), error };
        let file = File::open(self.root.join(name)).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        limits.check_bytes(name, size)?;
        let mut bytes = Vec::with_capacity(size as usize);
        file.take(limits.max_bytes).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// The file with the extension that its name has.
    pub(crate) fn encoded(&self, index: usize, limits: &Limits) -> Result<Encoded, SampleError> {
        let extension = self.name(index).rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        Ok(Encoded { bytes: self.read(index, limits)?, extension })
    }
}

fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Names of the folders directly below `root`, sorted; links to folders count, hidden ones do not.
pub(crate) fn folders(root: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(DataError::io(root))? {
        let entry = entry.map_err(DataError::io(root))?;
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name =
            entry.file_name().into_string().map_err(|_| DataError::refused(path, "its name is not valid UTF-8"))?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
