//! JPEG files, to the bytes that Pillow gives: libjpeg-turbo's arithmetic, and Pillow's colours for CMYK.

use image::RgbImage;
use libjpeg_turbo_rs::{DecodeWarning, Decoder, JpegError, PixelFormat};

/// A JPEG file whose header has been read. An error is a reason.
pub(crate) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: Decoder<'a>,
}

impl<'a> Jpeg<'a> {
    /// Whether a file of any name begins as a JPEG does.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0xff, 0xd8, 0xff])
    }

    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let decoder = Decoder::new(bytes).map_err(reason)?;
        match decoder.header().precision {
            8 => Ok(Self { bytes, decoder }),
            bits => Err(format!("it is a JPEG of {bits} bits per channel, not of 8")),
        }
    }

    /// Width and height in pixels.
    pub(crate) fn dimensions(&self) -> (u32, u32) {
        let header = self.decoder.header();
        (header.width.into(), header.height.into())
    }

    /// Decodes at full scale.
    ///
    /// As with Pillow, data that end too early leave grey where the file has its end-of-image marker, and a file that
    /// itself ends too early is refused. The marker alone may be missing, unless further scans may be missing with it.
    /// Data that make no sense are refused, where Pillow gives what libjpeg makes of them.
    pub(crate) fn decode(mut self) -> Result<RgbImage, String> {
        let cmyk = self.decoder.header().components.len() == 4;
        self.decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
        let Ending { marker, one_scan } = Ending::of(self.bytes, self.decoder.header().components.len());
        if !marker && (!one_scan || self.decoder.header().is_progressive) {
            return Err("it is cut short: a JPEG of several scans without its end-of-image marker".into());
        }
        let decoded = match self.decoder.decode_image() {
            Err(JpegError::UnexpectedEof) if marker => {
                self.decoder.set_lenient(true);
                self.decoder.decode_image()
            }
            strict => strict,
        };
        let image = decoded.map_err(reason)?;
        for warning in image.warnings {
            if let DecodeWarning::UnsupportedRecovered { detail } = warning {
                return Err(detail);
            }
        }
        let (width, height) = (image.width as u32, image.height as u32);
        let rgb = if cmyk { cmyk_to_rgb(&image.data) } else { image.data };
        RgbImage::from_raw(width, height, rgb).ok_or("the decoder gave too few pixels".into())
    }
}

fn reason(error: JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => "it is cut short: the data of the image end too early".into(),
        other => other.to_string(),
    }
}

/// How a file ends.
struct Ending {
    /// Whether the end-of-image marker, which no compressed data can contain, follows the header of the first scan. A
    /// thumbnail within the metadata has one too, so these are passed over.
    marker: bool,
    /// Whether the first scan holds all components.
    one_scan: bool,
}

impl Ending {
    fn of(bytes: &[u8], components: usize) -> Self {
        let mut at = 2;
        while let Some(&[first, marker, high, low]) = bytes.get(at..at + 4) {
            let length = usize::from(u16::from_be_bytes([high, low]));
            match (first, marker) {
                (0xff, 0xda) => {
                    let one_scan = bytes.get(at + 4).is_some_and(|&count| usize::from(count) == components);
                    let scan = bytes.get(at + 2 + length..).unwrap_or_default();
                    return Self { marker: scan.windows(2).rev().any(|pair| pair == [0xff, 0xd9]), one_scan };
                }
                // Fill bytes, and what stands between segments against the rules.
                (0xff, 0x00 | 0x01 | 0xff) | (..0xff, _) => at += 1,
                // Markers without a segment.
                (0xff, 0xd0..=0xd9) => at += 2,
                _ => at += 2 + length,
            }
        }
        Self { marker: false, one_scan: false }
    }
}

/// Pillow's colours: it takes every CMYK JPEG for an inverted one, as Adobe writes them, and then scales what each ink
/// leaves by what black leaves.
fn cmyk_to_rgb(inverted: &[u8]) -> Vec<u8> {
    let scaled = |ink: u8, white: u8| {
        let product = u32::from(ink) * u32::from(white) + 128;
        (((product >> 8) + product) >> 8) as u8
    };
    inverted
        .chunks_exact(4)
        .flat_map(|pixel| [0, 1, 2].map(|channel| pixel[3] - scaled(255 - pixel[channel], pixel[3])))
        .collect()
}
