//! Many pictures as one: rows of equal cells.

use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

/// Puts pictures into cells of `side` pixels, row by row, each scaled to fit and in the middle of its cell, on black.
///
/// # Panics
/// `columns` or `side` is 0.
pub(crate) fn contact_sheet(pictures: &[RgbImage], columns: u32, side: u32) -> RgbImage {
    let rows = (pictures.len() as u32).div_ceil(columns).max(1);
    let mut sheet = RgbImage::new(columns * side, rows * side);
    for (cell, picture) in (0..).zip(pictures) {
        let (width, height) = picture.dimensions();
        let scale = f64::from(side) / f64::from(width.max(height).max(1));
        let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
        let picture = imageops::resize(picture, scaled(width), scaled(height), FilterType::Triangle);
        let place = |cell: u32, length: u32| i64::from(cell * side + (side - length) / 2);
        let (x, y) = (place(cell % columns, picture.width()), place(cell / columns, picture.height()));
        imageops::replace(&mut sheet, &picture, x, y);
    }
    sheet
}

/// The bytes of a PNG file.
///
/// # Panics
/// A side of the picture is 0.
pub(crate) fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = picture.dimensions();
    let written = PngEncoder::new(&mut bytes).write_image(picture, width, height, ExtendedColorType::Rgb8);
    written.expect("an image of pixels is encoded in memory");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn pictures_are_scaled_into_the_middle_of_their_cells() {
        let colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
        let sizes = [(8, 4), (2, 2), (3, 9)];
        let pictures: Vec<RgbImage> =
            sizes.iter().zip(colors).map(|((w, h), color)| RgbImage::from_pixel(*w, *h, Rgb(color))).collect();
        let sheet = contact_sheet(&pictures, 2, 8);
        assert_eq!(sheet.dimensions(), (16, 16));
        let at = |x, y| sheet.get_pixel(x, y).0;
        assert_eq!([at(0, 1), at(0, 2), at(7, 5), at(7, 6)], [[0; 3], colors[0], colors[0], [0; 3]]);
        assert_eq!([at(8, 0), at(15, 7)], [colors[1]; 2]);
        assert_eq!(
            [at(1, 8), at(2, 8), at(4, 15), at(5, 15), at(8, 8)],
            [[0; 3], colors[2], colors[2], [0; 3], [0; 3]]
        );
    }
}
