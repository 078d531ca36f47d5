//! The pictures of `tests/fixtures`.

use std::path::PathBuf;

use clsa_augment::to_rgb;
use image::RgbImage;

pub fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", name].iter().collect()
}

pub fn read(name: &str) -> RgbImage {
    to_rgb(&image::open(fixture(name)).unwrap())
}
