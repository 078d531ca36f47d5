//! Sequential files that have all components in one scan, baseline ones above all, as libjpeg and Pillow decode them.

use image::RgbImage;

use super::arithmetic_scan;
use super::block::{Block, Extent};
use super::color::Space;
use super::frame::{Coding, Frame, Scan};
use super::lookahead::asks_for_more;
use super::markers::{Markers, Stop};
use super::picture::Picture;
use super::refusal::Refusal;
use super::scan::{self, Place, Sink};

/// Decodes a file that has been read up to its first scan, of all components. No other scan may follow; the marker of the
/// image's end may be missing where libjpeg does not read that far ahead.
pub(super) fn decode(mut markers: Markers, frame: &Frame, scan: &Scan) -> Result<RgbImage, Refusal> {
    let space = Space::of(&frame.components, markers.jfif, markers.adobe);
    let quantizers: Result<Vec<_>, _> =
        frame.components.iter().map(|component| markers.tables.quantizers(component.quantizers)).collect();
    let mut blocks = AtOnce { block: Block::ZERO, picture: Picture::new(frame, space, &quantizers?)? };
    let begin = markers.data();
    let (data, found) = if frame.coding == Coding::Sequential {
        markers.tables.add_standard();
        let (data, found) = scan::read(frame, &markers.tables, &scan.parts, begin.clone(), &mut blocks)?;
        if found.is_none() && asks_for_more(frame, &markers.tables, &scan.parts, begin)? {
            return Err(Refusal::CutShort);
        }
        (data, found)
    } else {
        arithmetic_scan::read(frame, &markers.tables, scan, begin, &mut blocks)?
    };
    match markers.after_data(data, found) {
        Ok(Stop::End) | Err(Refusal::CutShort) => blocks.picture.into_image(),
        Ok(Stop::Scan(_)) => Err(Refusal::faulty("a scan follows the one that has all components")),
        Err(refusal) => Err(refusal),
    }
}

/// Each block becomes samples as soon as it is read.
struct AtOnce {
    block: Block,
    picture: Picture,
}

impl Sink for AtOnce {
    #[inline(always)]
    fn block(&mut self, _place: Place) -> &mut Block {
        self.block = Block::ZERO;
        &mut self.block
    }

    #[inline(always)]
    fn take(&mut self, place: Place, extent: Extent) {
        self.picture.put(place.component, (place.row, place.column), &self.block, extent);
    }

    fn end_row(&mut self, row: usize) {
        self.picture.end_row(row);
    }
}
