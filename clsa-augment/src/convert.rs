//! Decoded images as Pillow has them.

use image::{DynamicImage, RgbImage};

/// Makes an RGB image as Pillow's `convert("RGB")` does after it opened the same file: alpha is dropped without
/// blending, gray is repeated, 16-bit color keeps its high byte, and 16-bit gray is clipped to 255 (Pillow's `I;16`).
///
/// Palettes are resolved and CMYK is converted by the decoder of the crate `image` already. That decoder's JPEGs differ
/// from Pillow's by a few levels, and it turns a 16-bit gray PNG that has a transparent color into gray with alpha: use
/// `decode` of the crate `clsa-data` where these files must give Pillow's bytes too.
///
/// # Examples
/// ```
/// use clsa_augment::to_rgb;
///
/// let gray = image::GrayImage::from_pixel(2, 2, image::Luma([7]));
/// assert_eq!(to_rgb(&gray.into()), image::RgbImage::from_pixel(2, 2, image::Rgb([7, 7, 7])));
/// ```
pub fn to_rgb(image: &DynamicImage) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(rgb) => rgb.clone(),
        DynamicImage::ImageLuma16(gray) => map(image, gray.as_raw().iter().map(|&v| [v.min(255) as u8; 3])),
        DynamicImage::ImageLumaA16(gray) => map(image, gray.as_raw().chunks_exact(2).map(|p| [high(p[0]); 3])),
        DynamicImage::ImageRgb16(rgb) => {
            map(image, rgb.as_raw().chunks_exact(3).map(|p| [high(p[0]), high(p[1]), high(p[2])]))
        }
        DynamicImage::ImageRgba16(rgba) => {
            map(image, rgba.as_raw().chunks_exact(4).map(|p| [high(p[0]), high(p[1]), high(p[2])]))
        }
        // 8-bit gray, gray with alpha and RGBA: alpha is dropped. Floating point has no counterpart in Pillow.
        other => other.to_rgb8(),
    }
}

fn map(image: &DynamicImage, pixels: impl Iterator<Item = [u8; 3]>) -> RgbImage {
    RgbImage::from_raw(image.width(), image.height(), pixels.flatten().collect())
        .expect("every pixel became three bytes")
}
