//! Arithmetic and lossless files, by libjpeg-turbo-rs.

use image::RgbImage;
use libjpeg_turbo_rs::{DecodeWarning, Decoder, JpegError, PixelFormat};

use super::color::cmyk_to_rgb;
use super::frame::{Coding, Frame, Part};
use super::refusal::Refusal;

/// Decodes a file whose first scan has the components `parts` and the data `data`.
pub(super) fn decode(bytes: &[u8], frame: &Frame, parts: &[Part], data: &[u8]) -> Result<RgbImage, Refusal> {
    let cmyk = frame.components.len() == 4;
    let factors = |at: usize| (frame.components[at].horizontal, frame.components[at].vertical);
    if cmyk && (1..4).any(|at| factors(at) != factors(0)) {
        return Err(Refusal::faulty("it is a CMYK JPEG with subsampled inks that is not a sequential one"));
    }
    let mut decoder = Decoder::new(bytes).map_err(refusal)?;
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let end_marker = data.windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
    let one_scan = frame.coding != Coding::ProgressiveArithmetic && parts.len() == frame.components.len();
    if !end_marker && !one_scan {
        return Err(Refusal::faulty("it is cut short: a JPEG of several scans without its end-of-image marker"));
    }
    let decoded = match decoder.decode_image() {
        Err(JpegError::UnexpectedEof) if end_marker => {
            decoder.set_lenient(true);
            decoder.decode_image()
        }
        strict => strict,
    };
    let image = decoded.map_err(refusal)?;
    for warning in image.warnings {
        if let DecodeWarning::UnsupportedRecovered { detail } = warning {
            return Err(Refusal::Faulty(detail));
        }
    }
    let (width, height) = (image.width as u32, image.height as u32);
    let rgb = if cmyk {
        let mut rgb = vec![0; image.data.len() / 4 * 3];
        cmyk_to_rgb(&image.data, &mut rgb);
        rgb
    } else {
        image.data
    };
    RgbImage::from_raw(width, height, rgb).ok_or_else(|| Refusal::faulty("the decoder gave too few pixels"))
}

fn refusal(error: JpegError) -> Refusal {
    match error {
        JpegError::UnexpectedEof => Refusal::CutShort,
        other => Refusal::Faulty(other.to_string()),
    }
}
