//! Compression as JPEG.

use std::io::Cursor;

use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{DynamicImage, RgbImage};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::severity::{Severities, Strength};
use crate::planes::{Planes, Rows};

/// Quality of libjpeg (CIFAR-10-C, ImageNet-C). Theirs is Pillow's encoder, which subsamples colors; this one does not.
const QUALITY: Severities = Severities { at_32: [80.0, 65.0, 58.0, 50.0, 40.0], at_224: [25.0, 18.0, 15.0, 10.0, 7.0] };

pub(super) fn jpeg(image: &mut Planes, strength: Strength, _: &mut Xoshiro256PlusPlus) {
    let quality = strength.value(&QUALITY).round() as u8;
    let decoded = recompressed(&image.to_image(), quality);
    image.read(Rows::whole(decoded.as_raw(), decoded.width() as usize, decoded.height() as usize));
}

fn recompressed(image: &RgbImage, quality: u8) -> RgbImage {
    let mut file = Vec::new();
    // Sides are at most 16384, and JPEG has sides up to 65535.
    JpegEncoder::new_with_quality(&mut file, quality).encode_image(image).expect("memory takes a JPEG of this size");
    let decoder = JpegDecoder::new(Cursor::new(file)).expect("it was just encoded");
    DynamicImage::from_decoder(decoder).expect("it was just encoded").into_rgb8()
}
