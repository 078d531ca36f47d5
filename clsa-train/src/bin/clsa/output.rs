//! Files and folders that a command is to write: what can be known of their names before the work.

use crate::failure::{Failure, request};
use clsa_data::image::ImageFormat;
use clsa_data::{Source, SourceKind, SourcePart};
use clsa_files::{WholeFile, folder_of};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Checks that a file can have this name: it is no folder, its folder exists, and a file can be made there. `option` names it in the
/// error. Removes what killed commands have left unfinished beside it.
pub fn check(option: &str, path: &Path) -> Result<(), Failure> {
    let named = path.display();
    // A path forgets a separator at its end.
    let is_of_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    if is_of_folder || path.is_dir() {
        return Err(request(format!("{option} {named}: this is a folder; name a file in it")));
    }
    if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::InvalidFilename) {
        return Err(request(format!("{option} {named}: this name is too long; use a shorter one")));
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(request(format!("{option} {named}: there is no folder {}; make it first", folder.display())));
    }
    // Where the folder cannot be read, what was left does no harm.
    let _ = clsa_files::remove_abandoned(folder);
    // It leaves nothing, and what is there stays.
    match WholeFile::create(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(request(format!("{option} {named}: no file can be made there ({error}); name one in another folder")))
        }
    }
}

/// Checks that a file's name ends as what is written into it does, so that no other file is replaced.
pub fn check_ending(option: &str, path: &Path, ending: &str) -> Result<(), Failure> {
    if path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending)) {
        return Ok(());
    }
    Err(request(format!("{option} {}: let the name end in .{ending}", path.display())))
}

/// Refuses to write over a file that is read.
pub fn check_is_no_input(option: &str, path: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    let Ok(file) = path.canonicalize() else { return Ok(()) };
    if inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| input == file)) {
        return Err(request(format!("{option} {}: this file is read by the command; name another", path.display())));
    }
    Ok(())
}

/// Refuses to write over one of the images of these names, or over a file that holds some, wherever they are.
pub fn check_is_no_image(option: &str, path: &Path, names: impl Iterator<Item = String>) -> Result<(), Failure> {
    // The names of all images are made only where there is a file that could be one.
    let Some(name) = path.file_name().filter(|_| path.exists()) else { return Ok(()) };
    let named = names.flat_map(|named| {
        // An image in a file of many is named by that file, `#`, and its place there.
        let file = named.rsplit_once('#').map(|(file, _)| PathBuf::from(file));
        [Some(PathBuf::from(named)), file].into_iter().flatten()
    });
    // Only those of its name are looked for on disk, each once.
    let mut same: Vec<PathBuf> = named.filter(|file| file.file_name() == Some(name)).collect();
    same.dedup();
    check_is_no_input(option, path, &same)
}

/// Refuses a picture among the images that it shows: it would be one of them from then on. Files of other forms may be there.
pub fn check_picture_is_beside_images(option: &str, path: &Path, source: &Source) -> Result<(), Failure> {
    if ImageFormat::from_path(path).is_err() {
        return Ok(());
    }
    // Beside the folders of classes, a file is no image.
    let is_beside_classes = |images: &PathBuf| {
        source.parts().iter().all(|part| part.kind != SourceKind::Flat)
            && images.canonicalize().ok() == folder_of(path).canonicalize().ok()
    };
    match images_around(folder_of(path), source).filter(|images| !is_beside_classes(images)) {
        Some(images) => Err(request(format!(
            "{option} {}: the picture would be among the images in {}, and one of them from then on; name a file elsewhere",
            path.display(),
            images.display()
        ))),
        None => Ok(()),
    }
}

/// The folder of a source's images that a folder, which may be yet to be made, is or is in.
pub fn images_around(folder: &Path, source: &Source) -> Option<PathBuf> {
    let of_images = |part: &SourcePart| -> Vec<PathBuf> {
        let root = PathBuf::from(&part.argument);
        match part.kind {
            SourceKind::ImageFolder if root.join("train").is_dir() => {
                ["train", "val", "test"].map(|split| root.join(split)).into()
            }
            SourceKind::ImageFolder | SourceKind::Flat => vec![root],
            _ => Vec::new(),
        }
    };
    // What is not there yet is in the folder that it will be made in.
    let there = std::path::absolute(folder).ok()?;
    let above = there.ancestors().find_map(|above| above.canonicalize().ok())?;
    let is_around = |images: &PathBuf| images.canonicalize().is_ok_and(|images| above.starts_with(images));
    source.parts().iter().flat_map(of_images).find(is_around)
}

/// Checks that a folder can have this name: there is no file of it.
pub fn check_folder(option: &str, path: &Path) -> Result<(), Failure> {
    match path.ancestors().find(|above| above.exists()) {
        Some(file) if !file.is_dir() => {
            let reason = format!("{} is a file; name another folder", file.display());
            Err(request(format!("{option} {}: {reason}", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_images_is_no_output() {
        let folder = tempfile::tempdir().unwrap();
        let [table, picture] = ["a.parquet", "b#1.png"].map(|name| folder.path().join(name));
        for file in [&table, &picture] {
            std::fs::write(file, "").unwrap();
        }
        let names = [format!("{}#group 0, row 0", table.display()), picture.display().to_string()];
        let check = |file: &Path| check_is_no_image("--out", file, names.clone().into_iter());
        for file in [&table, &picture] {
            assert!(check(file).is_err(), "{}", file.display());
        }
        assert!(check(&folder.path().join("b")).is_ok());
    }
}
