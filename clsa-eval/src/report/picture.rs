//! Pictures that are part of the page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, ImageResult, RgbImage, imageops};
use std::io::Cursor;

/// Sides above this are stored as JPEG; small pictures stay exact.
const EXACT: u32 = 64;
const QUALITY: u8 = 82;

/// An image as a data URI.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// `data:image/…;base64,…`
    pub uri: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What is seen, for those who do not see it.
    pub alt: String,
}

impl Picture {
    /// Encodes an image, made smaller where its longer side is above `side`.
    pub(super) fn of(image: &RgbImage, side: u32, alt: String) -> Self {
        let longer = image.width().max(image.height()).max(1);
        let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longer)).max(1) as u32;
        let smaller = (longer > side).then(|| {
            imageops::resize(image, scaled(image.width()), scaled(image.height()), imageops::FilterType::Triangle)
        });
        let image = smaller.as_ref().unwrap_or(image);
        if image.width().max(image.height()) > EXACT {
            return Self::compact(image, alt);
        }
        let mut bytes = Vec::new();
        let written = image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png);
        Self::encoded("png", &bytes, written, image, alt)
    }

    /// Encodes an image of up to 65,535 pixels a side as JPEG.
    pub(super) fn compact(image: &RgbImage, alt: String) -> Self {
        let mut bytes = Vec::new();
        let written = image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY));
        Self::encoded("jpeg", &bytes, written, image, alt)
    }

    fn encoded(format: &str, bytes: &[u8], written: ImageResult<()>, image: &RgbImage, alt: String) -> Self {
        written.expect("an image of pixels is encoded in memory");
        let uri = format!("data:image/{format};base64,{}", STANDARD.encode(bytes));
        Self { uri, width: image.width(), height: image.height(), alt }
    }
}
