//! The image file of a sample: as it is stored, or resized and encoded anew.

use std::io::Cursor;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::options::PackOptions;
use crate::dataset::{Dataset, Encoded};
use crate::sample_error::SampleError;

/// The file of a sample for a shard: as it is stored, or resized and encoded anew.
pub(super) fn encode(dataset: &dyn Dataset, index: usize, options: &PackOptions) -> Result<Encoded, SampleError> {
    let image = dataset.image(index)?;
    let failed = |reason: String| SampleError::Decode { name: dataset.name(index), reason };
    if let Some(side) = options.short_side
        && image.width().min(image.height()) > side
    {
        let resized = resize(&image, side).map_err(failed)?;
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, options.quality)
            .encode_image(&resized)
            .map_err(|error| failed(error.to_string()))?;
        return Ok(Encoded { bytes, extension: "jpg".into() });
    }
    if let Some(file) = dataset.encoded(index)? {
        return Ok(file);
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(|error| failed(error.to_string()))?;
    Ok(Encoded { bytes: bytes.into_inner(), extension: "png".into() })
}

/// Resizes so that the short side is `side`, the long one as torchvision's `Resize` computes it.
fn resize(image: &RgbImage, side: u32) -> Result<RgbImage, String> {
    let (width, height) = image.dimensions();
    let long = |long: u32, short: u32| (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
    let (to_width, to_height) = if width <= height { (side, long(height, width)) } else { (long(width, height), side) };
    let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(|error| error.to_string())?;
    let mut target = Image::new(to_width, to_height, PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &bilinear).map_err(|error| error.to_string())?;
    RgbImage::from_raw(to_width, to_height, target.into_vec()).ok_or("resizing gave no image".into())
}
