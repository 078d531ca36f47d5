//! Lists of image files, held compactly: 1.3 million names take some 50 MB.
//!
//! All names are one text, with the end of each in it: a `PathBuf` for each would more than double that, and cost an
//! allocation.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use image::RgbImage;
use walkdir::WalkDir;

use crate::dataset::Encoded;
use crate::decode::{Limits, decode, header};
use crate::error::{DataError, Fault};
use crate::sample_error::SampleError;

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
    limits: Limits,
}

impl Listing {
    pub(crate) fn new(root: &Path, limits: Limits) -> Self {
        Self { root: root.into(), names: String::new(), ends: Vec::new(), limits }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Path of a file.
    pub(crate) fn path(&self, index: usize) -> PathBuf {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.root.join(&self.names[start..self.ends[index] as usize])
    }

    /// Path of a file, for messages.
    pub(crate) fn name(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }

    /// Adds one file by its path relative to the root.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), DataError> {
        self.names.push_str(name);
        let end = u32::try_from(self.names.len())
            .map_err(|_| Fault::Unsupported.at(&self.root, "its file names take more than 4 GiB"))?;
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
                    if let Some(ancestor) = error.loop_ancestor() {
                        let reason = format!("a link that leads back to {}", ancestor.display());
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
            let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
            if is_image(&path.to_string_lossy()) {
                let Some(name) = path.to_str() else {
                    return Err(Fault::Unsupported.at(entry.path(), "its name is not valid UTF-8"));
                };
                // A folder counts without the separator behind it, which would come after `-` and the like.
                let folder = name.rfind(std::path::MAIN_SEPARATOR).unwrap_or(0);
                found.push((name.to_string(), folder));
            }
        }
        found.sort_by(|a, b| (&a.0[..a.1], &a.0[a.1..]).cmp(&(&b.0[..b.1], &b.0[b.1..])));
        for (name, _) in &found {
            self.push(name)?;
        }
        Ok(found.len())
    }

    fn open(&self, path: &Path) -> Result<(File, u64), SampleError> {
        let failed = |error| SampleError::Read { name: path.display().to_string(), error };
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        self.limits.check_bytes(&path.display().to_string(), size)?;
        Ok((file, size))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, SampleError> {
        let (file, size) = self.open(path)?;
        let mut bytes = Vec::with_capacity(size as usize + 1);
        let failed = |error| SampleError::Read { name: path.display().to_string(), error };
        file.take(self.limits.max_bytes).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Reads and decodes a file.
    pub(crate) fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        let path = self.path(index);
        decode(&self.read(&path)?, &path.display().to_string(), &self.limits)
    }

    /// Reads the header of a file.
    pub(crate) fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        let path = self.path(index);
        let (file, _) = self.open(&path)?;
        header(BufReader::new(file), &path.display().to_string(), &self.limits)
    }

    /// The file with the extension that its name has.
    pub(crate) fn encoded(&self, index: usize) -> Result<Encoded, SampleError> {
        let path = self.path(index);
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Ok(Encoded { bytes: self.read(&path)?, extension })
    }
}

fn is_dangling(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Names of the folders directly below `root`, sorted; links to folders count, hidden ones do not.
pub(crate) fn folders(root: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(DataError::read(root))? {
        let entry = entry.map_err(DataError::read(root))?;
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name =
            entry.file_name().into_string().map_err(|_| Fault::Unsupported.at(path, "its name is not valid UTF-8"))?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
