//! The files of a folder that a source names without a pattern.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{DataError, Fault};
use crate::listing::{is_dangling, is_visible};
use crate::printable::printable_path;
use crate::split::Stated;

/// How deep files are looked for: `CONFIGURATION/SPLIT/FILE` and one level more.
const DEPTH: usize = 4;

/// The files with this extension in `folder`, or else in its folder `data`, or else in folders below that differ in their
/// split alone. Hidden ones do not count.
pub(super) fn folder_files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    for folder in [folder.to_path_buf(), folder.join("data")] {
        if folder.is_dir() {
            let files = found(&folder, extension, 1)?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
    let files = found(folder, extension, DEPTH)?;
    // The folders without what states a split: more than one are data sets of their own.
    let mut places = BTreeMap::new();
    for file in &files {
        let parent = file.parent().unwrap_or(folder).strip_prefix(folder).unwrap_or(folder);
        let place: PathBuf = parent
            .components()
            .filter(|part| Stated::by(&part.as_os_str().to_string_lossy()) == Stated::Nothing)
            .collect();
        places.entry(place).or_insert_with(|| file.clone());
    }
    let mut several = places.into_values();
    match (several.next(), several.next()) {
        (Some(a), Some(b)) => {
            let (a, b) = (printable_path(a), printable_path(b));
            let reason = format!(
                "has .{extension} files in several folders, such as {a} and {b}; name one folder, or a pattern"
            );
            Err(Fault::Layout.at(folder, reason))
        }
        (Some(_), None) => Ok(files),
        _ => match compressed(folder, extension)? {
            Some(file) => Err(Fault::Unsupported.at(file, "is compressed; unpack it first")),
            None => Err(Fault::Layout.at(folder, format!("has no .{extension} file"))),
        },
    }
}

/// Files with this extension up to a depth, in order.
fn found(folder: &Path, extension: &str, depth: usize) -> Result<Vec<PathBuf>, DataError> {
    let has_extension = |path: &Path| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let is_of_data =
        |error: &walkdir::Error| error.depth() == 0 || !is_dangling(error) || error.path().is_some_and(has_extension);
    let mut files = Vec::new();
    let walk = WalkDir::new(folder).follow_links(true).max_depth(depth).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_visible) {
        let entry = match entry {
            Ok(entry) => entry,
            // A dangling link that is no file of the data set, or a link that leads back.
            Err(error) if error.loop_ancestor().is_some() || !is_of_data(&error) => continue,
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                let error = error.into_io_error().unwrap_or_else(|| std::io::Error::other("cannot be listed"));
                return Err(DataError::read(&path)(error));
            }
        };
        // Neither a folder, nor a pipe, which would be waited for.
        if has_extension(entry.path()) && entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// A compressed file of this kind, such as `train.tar.gz` or `train.tgz`.
fn compressed(folder: &Path, extension: &str) -> Result<Option<PathBuf>, DataError> {
    for packed in ["gz", "zst", "xz", "bz2"] {
        let with = |path: &PathBuf| {
            path.file_stem()
                .is_some_and(|stem| Path::new(stem).extension().is_some_and(|e| e.eq_ignore_ascii_case(extension)))
        };
        if let Some(file) = found(folder, packed, 1)?.into_iter().find(with) {
            return Ok(Some(file));
        }
    }
    Ok(if extension == "tar" { found(folder, "tgz", 1)?.into_iter().next() } else { None })
}
