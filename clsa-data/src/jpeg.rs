//! JPEG files, to the bytes that Pillow gives: libjpeg-turbo's arithmetic, and Pillow's colors for CMYK.
//!
//! Sequential files, as nearly all are, have a decoder of their own here, and libjpeg-turbo-rs decodes the others.

mod baseline;
mod bits;
mod block;
mod color;
mod cursor;
mod frame;
mod huffman;
mod kernels;
mod library;
mod markers;
mod picture;
mod plane;
mod refusal;
mod scan;
mod standard;
mod tables;
#[cfg(test)]
mod tests;
mod upsample;

use frame::{Coding, Frame, Part};
use image::RgbImage;
use markers::Markers;

/// A JPEG file whose header has been read. An error is a reason.
pub(crate) struct Jpeg<'a> {
    bytes: &'a [u8],
    markers: Markers<'a>,
    frame: Frame,
    /// The first scan's components.
    parts: Vec<Part>,
}

impl<'a> Jpeg<'a> {
    /// Whether a file of any name begins as a JPEG does.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0xff, 0xd8, 0xff])
    }

    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let read = || {
            let mut markers = Markers::new(bytes)?;
            let (mut frame, parts) = markers.first_scan()?;
            frame.check()?;
            Ok(Self { bytes, markers, frame, parts })
        };
        read().map_err(|refusal: refusal::Refusal| refusal.to_string())
    }

    /// Width and height in pixels.
    pub(crate) fn dimensions(&self) -> (u32, u32) {
        (self.frame.width as u32, self.frame.height as u32)
    }

    /// Decodes at full scale.
    ///
    /// As with Pillow, data that end too early leave gray where the file has a marker, be it that of the image's end, and a
    /// file that itself ends too early is refused. The marker alone may be missing, unless further scans may be missing with
    /// it. Codes that make no sense are refused, where Pillow gives what libjpeg makes of them.
    pub(crate) fn decode(self) -> Result<RgbImage, String> {
        let decoded = match self.frame.coding {
            Coding::Sequential => baseline::decode(self.markers, &self.frame, self.parts),
            Coding::Progressive | Coding::Other => {
                library::decode(self.bytes, &self.frame, &self.parts, self.markers.data().rest())
            }
        };
        decoded.map_err(|refusal| refusal.to_string())
    }
}
