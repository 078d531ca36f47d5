use image::{DynamicImage, ImageResult, RgbImage};

/// Decodes an image file as Pillow's `Image.open(file).convert("RGB")` does. The format is read from the content, an
/// animation gives its first frame, and an EXIF orientation is not applied. The pixels are those of [`to_rgb`], but for a
/// 16-bit grey PNG with a transparent colour, which only its file tells from one with an alpha channel.
///
/// # Errors
/// If the crate `image` cannot decode the file, or was built without its format.
pub fn decode_rgb(file: &[u8]) -> ImageResult<RgbImage> {
    let image = image::load_from_memory(file)?;
    match &image {
        DynamicImage::ImageLumaA16(grey) if is_grey_png(file) => {
            Ok(map(&image, grey.as_raw().chunks_exact(2).map(|p| [clip(p[0]); 3])))
        }
        other => Ok(to_rgb(other)),
    }
}

/// Whether a PNG's header, 8 bytes of signature and a chunk whose 18th byte is the colour type, says grey without alpha.
fn is_grey_png(file: &[u8]) -> bool {
    file.starts_with(b"\x89PNG") && file.get(25) == Some(&0)
}

/// Makes an RGB image as Pillow's `convert("RGB")` does after it opened the same file: alpha is dropped without
/// blending, grey is repeated, 16-bit colour keeps its high byte, and 16-bit grey is clipped to 255 (Pillow's `I;16`).
///
/// Palettes are resolved and CMYK is converted by the decoder of the crate `image` already.
pub fn to_rgb(image: &DynamicImage) -> RgbImage {
    match image {
        DynamicImage::ImageRgb8(rgb) => rgb.clone(),
        DynamicImage::ImageLuma16(grey) => map(image, grey.as_raw().iter().map(|&v| [clip(v); 3])),
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

fn high(value: u16) -> u8 {
    (value >> 8) as u8
}

fn clip(value: u16) -> u8 {
    value.min(255) as u8
}

fn map(image: &DynamicImage, pixels: impl Iterator<Item = [u8; 3]>) -> RgbImage {
    RgbImage::from_raw(image.width(), image.height(), pixels.flatten().collect())
        .expect("every pixel became three bytes")
}
