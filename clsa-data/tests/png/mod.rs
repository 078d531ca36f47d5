//! A small PNG file.

use image::{ImageFormat, Rgb, RgbImage};

/// The bytes of a PNG of 2x2 pixels of this red.
pub fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(2, 2, Rgb([red, 0, 0])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}
