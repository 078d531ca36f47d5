//! JPEG files, to the bytes that Pillow gives: libjpeg-turbo's arithmetic, and Pillow's colors for CMYK.
//!
//! Sequential and progressive files, of Huffman codes or arithmetic ones.

mod arithmetic;
mod arithmetic_scan;
mod baseline;
mod bits;
mod block;
mod color;
mod cursor;
mod frame;
mod huffman;
mod kept;
mod kernels;
mod lookahead;
mod markers;
mod picture;
mod plane;
mod progress;
mod progressive;
mod refusal;
mod scan;
mod scans;
mod smooth;
mod standard;
mod tables;
#[cfg(test)]
mod tests;
mod upsample;

use frame::{Coding, Frame, Scan};
use image::RgbImage;
use markers::Markers;
use refusal::Refusal;

/// A JPEG file whose header has been read. An error is a reason.
pub(crate) struct Jpeg<'a> {
    markers: Markers<'a>,
    frame: Frame,
    /// The first one.
    scan: Scan,
}

impl<'a> Jpeg<'a> {
    /// Whether a file of any name begins as a JPEG does.
    pub(crate) fn is(bytes: &[u8]) -> bool {
        bytes.starts_with(&[0xff, 0xd8, 0xff])
    }

    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let read = || {
            let mut markers = Markers::new(bytes)?;
            let (mut frame, scan) = markers.first_scan()?;
            frame.check()?;
            Ok(Self { markers, frame, scan })
        };
        read().map_err(|refusal: Refusal| refusal.to_string())
    }

    /// Width and height in pixels.
    pub(crate) fn dimensions(&self) -> (u32, u32) {
        (self.frame.width as u32, self.frame.height as u32)
    }

    /// Decodes at full scale.
    ///
    /// As with Pillow, data that end too early leave gray where the file has a marker, be it that of the image's end,
    /// and a file that itself ends too early is refused. The marker alone may be missing, but not where libjpeg, which
    /// reads ahead, has asked for what is behind the data, nor in a file of several scans, of which more may be missing
    /// with it. Codes that make no sense are refused, where Pillow gives what libjpeg makes of them. Scans that a
    /// progressive file lacks leave coefficients that are not known, and are estimated as libjpeg does.
    pub(crate) fn decode(self) -> Result<RgbImage, String> {
        let decoded = match self.frame.coding {
            Coding::Lossless => Err(Refusal::faulty("it is a lossless JPEG")),
            Coding::Sequential | Coding::Arithmetic if self.scan.parts.len() == self.frame.components.len() => {
                baseline::decode(self.markers, &self.frame, &self.scan)
            }
            _ => scans::decode(self.markers, &self.frame, self.scan),
        };
        decoded.map_err(|refusal| refusal.to_string())
    }
}
