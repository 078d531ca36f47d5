//! Files of several scans, sequential or progressive: coefficients are kept until the last scan is read.

use image::RgbImage;

use super::arithmetic_scan;
use super::block::{Block, Extent};
use super::color::Space;
use super::frame::{Coding, Frame, Scan};
use super::kept::Kept;
use super::markers::{Markers, Stop};
use super::picture::Picture;
use super::progress::Progress;
use super::progressive;
use super::refusal::Refusal;
use super::scan;
use super::smooth::Smoothing;

/// Most scans of a file, so that a small file cannot keep a decoder busy for long. An encoder writes about ten; libjpeg-turbo's
/// notes on progressive files advise this limit.
const MOST_SCANS: usize = 500;
/// Of arithmetic ones, which take time for every block even where their data have ended.
const MOST_ARITHMETIC_SCANS: usize = 100;

/// Decodes a file that has been read up to its first scan. Without the marker of the image's end, further scans may be
/// missing, and the file is refused.
pub(super) fn decode(mut markers: Markers, frame: &Frame, mut scan: Scan) -> Result<RgbImage, Refusal> {
    let space = Space::of(&frame.components, markers.jfif, markers.adobe);
    let mut progress = frame.coding.is_progressive().then(|| Progress::new(frame));
    if frame.coding == Coding::Sequential {
        markers.tables.add_standard();
    }
    let mut kept = Kept::new(frame);
    // A component that no scan has is gray.
    let mut tables = vec![None; frame.components.len()];
    let most_scans = if frame.coding.is_arithmetic() { MOST_ARITHMETIC_SCANS } else { MOST_SCANS };
    for _ in 0..most_scans {
        for part in &scan.parts {
            let table = &mut tables[part.component];
            if table.is_none() {
                *table = Some(markers.tables.quantizers(frame.components[part.component].quantizers)?);
            }
        }
        if let Some(progress) = &mut progress {
            progress.begin(&scan)?;
        }
        let (data, found) = match &mut progress {
            progress if frame.coding.is_arithmetic() => {
                // Data that have ended go on as zeros, to the last row.
                if let Some(progress) = progress {
                    progress.last_row = (frame.units().1 - 1) / frame.group;
                }
                arithmetic_scan::read(frame, &markers.tables, &scan, markers.data(), &mut kept)?
            }
            Some(progress) => progressive::read(frame, &markers.tables, &scan, markers.data(), &mut kept, progress)?,
            None => scan::read(frame, &markers.tables, &scan.parts, markers.data(), &mut kept)?,
        };
        match markers.after_data(data, found) {
            Ok(Stop::Scan(next)) => scan = next,
            Ok(Stop::End) => {
                let quantizers: Vec<_> = tables.into_iter().map(|table| table.unwrap_or(Block::ZERO)).collect();
                let smoothing = progress.and_then(|progress| Smoothing::new(frame, progress, &quantizers));
                return picture(&kept, frame, smoothing, Picture::new(frame, space, &quantizers)?);
            }
            Err(Refusal::CutShort) => {
                return Err(Refusal::faulty(
                    "it is cut short: a JPEG of several scans without its end-of-image marker",
                ));
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::faulty(format!("it has more than {most_scans} scans")))
}

/// The picture of all blocks.
fn picture(
    kept: &Kept,
    frame: &Frame,
    smoothing: Option<Smoothing>,
    mut picture: Picture,
) -> Result<RgbImage, Refusal> {
    for unit_row in 0..frame.units().1 {
        for (index, component) in frame.components.iter().enumerate() {
            for row in unit_row * component.vertical..(unit_row + 1) * component.vertical {
                for (column, block) in kept.row(index, row).iter().enumerate() {
                    let smooth = smoothing.as_ref().map(|smoothing| smoothing.block(kept, index, row, column));
                    let block = smooth.as_ref().unwrap_or(block);
                    picture.put(index, (row, column), block, Extent::of(block));
                }
            }
        }
        picture.end_row(unit_row);
    }
    picture.into_image()
}
