//! The sources: what they read, and what they refuse.

mod cifar;
mod idx;
mod imagefolder;
mod joined;
mod layout;
mod list;
mod text;
mod voc;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clsa_data::{DataError, Dataset, Fault, Source, Split};
use image::{Rgb, RgbImage};

fn open(kind: &str, path: &Path, split: Split) -> Result<Arc<dyn Dataset>, DataError> {
    format!("{kind}:{}", path.display()).parse::<Source>().unwrap().open(split)
}

/// The message with which a source is refused, in one line.
fn refusal(kind: &str, path: &Path, split: Split) -> String {
    let error = open(kind, path, split).map(|_| ()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// For what a source is refused.
fn fault(kind: &str, path: &Path, split: Split) -> Fault {
    match open(kind, path, split) {
        Err(DataError::Refused { fault, .. }) => fault,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("{kind}:{} is not refused", path.display()),
    }
}

fn write_image(path: impl AsRef<Path>, red: u8) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(4, 3, Rgb([red, 0, 0])).save_with_format(path, image::ImageFormat::Png).unwrap();
}

fn reds(dataset: &dyn Dataset) -> Vec<u8> {
    (0..dataset.len()).map(|index| dataset.image(index).unwrap().get_pixel(0, 0).0[0]).collect()
}

fn classes(dataset: &dyn Dataset) -> Vec<u32> {
    (0..dataset.len()).map(|index| dataset.label(index).class().unwrap()).collect()
}
