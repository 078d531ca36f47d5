//! Sequential Huffman-coded files of 8 bits, baseline ones above all, as libjpeg and Pillow decode them.

use image::RgbImage;

use super::block::{Block, Extent};
use super::color::Space;
use super::frame::{Frame, Part};
use super::markers::{Markers, Stop};
use super::picture::Picture;
use super::refusal::Refusal;
use super::scan::{self, Place, Sink};
use super::tables::Tables;

/// Most scans of a file. Three or four, one for each component, are all that an encoder writes.
const MOST_SCANS: usize = 64;

/// Decodes a file that has been read up to its first scan, of the components `parts`.
pub(super) fn decode(mut markers: Markers, frame: &Frame, parts: Vec<Part>) -> Result<RgbImage, Refusal> {
    let space = Space::of(&frame.components, markers.jfif, markers.adobe);
    markers.tables.add_standard();
    if parts.len() == frame.components.len() {
        decode_one_scan(markers, frame, &parts, space)
    } else {
        decode_scans(markers, frame, parts, space)
    }
}

/// The quantizers of a component.
fn quantizers(tables: &Tables, frame: &Frame, component: usize) -> Result<Block, Refusal> {
    tables.quantizers(frame.components[component].quantizers).map(|table| Block(table.map(|value| value as i16)))
}

/// Decodes a file all of whose components are in its first scan. No other may follow; the marker of the image's end may
/// be missing.
fn decode_one_scan(mut markers: Markers, frame: &Frame, parts: &[Part], space: Space) -> Result<RgbImage, Refusal> {
    let quantizers: Result<Vec<_>, _> =
        (0..frame.components.len()).map(|component| quantizers(&markers.tables, frame, component)).collect();
    let mut blocks = AtOnce { block: Block::ZERO, picture: Picture::new(frame, space, &quantizers?)? };
    let (data, found) = scan::read(frame, &markers.tables, parts, markers.data(), &mut blocks)?;
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

/// Decodes a file of several scans, of which the first has the components `parts`.
fn decode_scans(mut markers: Markers, frame: &Frame, mut parts: Vec<Part>, space: Space) -> Result<RgbImage, Refusal> {
    let mut blocks = Kept::new(frame);
    // A component that no scan has is gray.
    let mut tables = vec![None; frame.components.len()];
    for _ in 0..MOST_SCANS {
        for part in &parts {
            if tables[part.component].is_none() {
                tables[part.component] = Some(quantizers(&markers.tables, frame, part.component)?);
            }
        }
        let (data, found) = scan::read(frame, &markers.tables, &parts, markers.data(), &mut blocks)?;
        match markers.after_data(data, found) {
            Ok(Stop::Scan(next)) => parts = next,
            Ok(Stop::End) => {
                let quantizers: Vec<_> = tables.into_iter().map(|table| table.unwrap_or(Block::ZERO)).collect();
                return blocks.into_image(frame, space, &quantizers);
            }
            Err(Refusal::CutShort) => {
                return Err(Refusal::faulty(
                    "it is cut short: a JPEG of several scans without its end-of-image marker",
                ));
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::faulty(format!("it has more than {MOST_SCANS} scans")))
}

/// The blocks of one component.
struct Blocks {
    blocks: Vec<Block>,
    across: usize,
}

/// All blocks are kept until the last scan is read.
struct Kept {
    components: Vec<Blocks>,
}

impl Kept {
    fn new(frame: &Frame) -> Self {
        let (across, down) = frame.units();
        let components = frame.components.iter().map(|component| {
            let (across, down) = (across * component.horizontal, down * component.vertical);
            Blocks { blocks: vec![Block::ZERO; across * down], across }
        });
        Self { components: components.collect() }
    }

    fn into_image(self, frame: &Frame, space: Space, quantizers: &[Block]) -> Result<RgbImage, Refusal> {
        let mut picture = Picture::new(frame, space, quantizers)?;
        for unit_row in 0..frame.units().1 {
            for (index, (kept, component)) in self.components.iter().zip(&frame.components).enumerate() {
                for row in unit_row * component.vertical..(unit_row + 1) * component.vertical {
                    let blocks = &kept.blocks[row * kept.across..][..kept.across];
                    for (column, block) in blocks.iter().enumerate() {
                        picture.put(index, (row, column), block, Extent::of(block));
                    }
                }
            }
            picture.end_row(unit_row);
        }
        picture.into_image()
    }
}

impl Sink for Kept {
    fn block(&mut self, place: Place) -> &mut Block {
        let component = &mut self.components[place.component];
        &mut component.blocks[place.row * component.across + place.column]
    }

    fn take(&mut self, _place: Place, _extent: Extent) {}

    fn end_row(&mut self, _row: usize) {}
}
