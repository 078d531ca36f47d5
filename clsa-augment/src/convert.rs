use image::{DynamicImage, RgbImage};

/// Makes an RGB image as Pillow's `convert("RGB")` does after it opened the same file: alpha is dropped without
/// blending, grey is repeated, 16-bit colour keeps its high byte, and 16-bit grey is clipped to 255 (Pillow's `I;16`).
///
/// Palettes are resolved and CMYK is converted by the decoder of the crate `image` already. That decoder's JPEGs differ
/// from Pillow's by a few levels, and it makes grey with alpha of a 16-bit grey PNG that has a transparent colour:
/// `clsa_data::decode` gives Pillow's bytes for these files too.
pub fn to_rgb(image: &DynamicImage) -> RgbImage {
    let high = |value: u16| (value >> 8) as u8;
    match image {
        DynamicImage::ImageRgb8(rgb) => rgb.clone(),
        DynamicImage::ImageLuma16(grey) => map(image, grey.as_raw().iter().map(|&v| [v.min(255) as u8; 3])),
        DynamicImage::ImageLumaA16(grey) => map(image, grey.as_raw().chunks_exact(2).map(|p| [high(p[0]); 3])),
        DynamicImage::ImageRgb16(rgb) => {
            map(image, rgb.as_raw().chunks_exact(3).map(|p| [high(p[0]), high(p[1]), high(p[2])]))
        }
        DynamicImage::ImageRgba16(rgba) => {
            map(image, rgba.as_raw().chunks_exact(4).map(|p| [high(p[0]), high(p[1]), high(p[2])]))
        }
        // 8-bit grey, grey with alpha and RGBA: alpha is dropped. Floating point has no counterpart in Pillow.
        other => other.to_rgb8(),
    }
}

fn map(image: &DynamicImage, pixels: impl Iterator<Item = [u8; 3]>) -> RgbImage {
    RgbImage::from_raw(image.width(), image.height(), pixels.flatten().collect())
        .expect("every pixel became three bytes")
}
