//! Arithmetic files, by libjpeg-turbo-rs.

use image::RgbImage;
use libjpeg_turbo_rs::{Decoder, JpegError, PixelFormat};

use super::color::cmyk_to_rgb;
use super::frame::{Coding, Frame, Scan};
use super::markers::{Markers, Stop};
use super::progress::Progress;
use super::refusal::Refusal;
use super::scan::units;
use super::scans::MOST_SCANS;

/// Decodes a file that has been read up to its first scan. Only files are decoded that are as the standard has them: what
/// libjpeg makes of the others, the library does not.
pub(super) fn decode(bytes: &[u8], markers: Markers, frame: &Frame, scan: Scan) -> Result<RgbImage, Refusal> {
    if frame.coding == Coding::Lossless {
        return Err(Refusal::faulty("it is a lossless JPEG"));
    }
    let cmyk = frame.components.len() == 4;
    let factors = |at: usize| (frame.components[at].horizontal, frame.components[at].vertical);
    if cmyk && (1..4).any(|at| factors(at) != factors(0)) || factors(0) != frame.largest() {
        return Err(Refusal::faulty("it is an arithmetic JPEG of an unusual sampling"));
    }
    check_scans(markers, frame, scan)?;
    let mut decoder = Decoder::new(bytes).map_err(refusal)?;
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let decoded = decoder.decode_image();
    let image = decoded.map_err(refusal)?;
    if let Some(warning) = image.warnings.first() {
        return Err(Refusal::faulty(format!("corrupt data: {warning:?}")));
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

/// Checks that no scan, restart marker or bit of a coefficient is missing.
fn check_scans(mut markers: Markers, frame: &Frame, mut scan: Scan) -> Result<(), Refusal> {
    let mut progress = Progress::new(frame);
    for _ in 0..MOST_SCANS {
        if frame.coding == Coding::ProgressiveArithmetic {
            progress.begin(&scan)?;
        }
        let (across, down) = units(frame, &scan.parts)?;
        let restarts = (across * down - 1).checked_div(markers.tables.restart_interval).unwrap_or(0);
        let mut data = markers.data();
        let mut found = data.marker()?;
        for restart in 0..restarts {
            if usize::from(found) != 0xd0 + restart % 8 {
                return Err(Refusal::faulty("corrupt data: a restart marker is missing"));
            }
            found = data.marker()?;
        }
        match markers.after_data(data, Some(found))? {
            Stop::Scan(next) => scan = next,
            Stop::End if frame.coding == Coding::ProgressiveArithmetic && !progress.is_complete() => {
                return Err(Refusal::faulty("scans are missing of a progressive arithmetic JPEG"));
            }
            Stop::End => return Ok(()),
        }
    }
    Err(Refusal::faulty(format!("it has more than {MOST_SCANS} scans")))
}

fn refusal(error: JpegError) -> Refusal {
    match error {
        JpegError::UnexpectedEof => Refusal::CutShort,
        other => Refusal::Faulty(other.to_string()),
    }
}
