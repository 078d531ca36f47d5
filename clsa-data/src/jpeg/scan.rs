//! One scan: its units in order if it is a sequential one, restart markers, and what libjpeg makes of data that end too early.

use multiversion::multiversion;

use super::bits::Bits;
use super::block::{Block, Extent};
use super::cursor::Cursor;
use super::frame::{Frame, Part};
use super::huffman::{Codes, read_block};
use super::refusal::Refusal;
use super::tables::Tables;

/// Most blocks in a unit of several components.
const MOST_BLOCKS: usize = 10;

/// A block's component, and its place among the blocks of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the component in the frame.
    pub(super) component: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// What becomes of the blocks of a scan.
pub(super) trait Sink {
    /// The block that the coefficients of this place are read into: those of an earlier scan, or 0.
    fn block(&mut self, place: Place) -> &mut Block;

    /// Takes the block that was read.
    fn take(&mut self, place: Place, extent: Extent);

    /// Takes notice that the units of a row are read.
    fn end_row(&mut self, row: usize);
}

/// The Huffman tables of a scan, each made once.
pub(super) struct CodeTables {
    dc: [Option<Box<Codes>>; 4],
    ac: [Option<Box<Codes>>; 4],
}

impl CodeTables {
    pub(super) fn new(tables: &Tables, parts: &[Part]) -> Result<Self, Refusal> {
        let mut made = Self { dc: Default::default(), ac: Default::default() };
        for part in parts {
            let (dc, ac) = (tables.dc(part.dc)?, tables.ac(part.ac)?);
            let place = &mut made.dc[usize::from(part.dc)];
            if place.is_none() {
                *place = Some(Codes::dc(dc)?);
            }
            let place = &mut made.ac[usize::from(part.ac)];
            if place.is_none() {
                *place = Some(Codes::ac(ac)?);
            }
        }
        Ok(made)
    }
}

/// A component of the scan.
pub(super) struct Component<'a> {
    index: usize,
    pub(super) dc: &'a Codes,
    pub(super) ac: &'a Codes,
    /// Blocks side by side, and above each other, in a unit of the scan.
    pub(super) across: usize,
    pub(super) down: usize,
    /// First coefficient of the block before.
    prediction: i16,
}

/// Reads the data of a scan from their beginning in the file, and gives its blocks to the sink. Returns the place behind
/// the data and the code of the marker that was read there, or `None` if the file has ended.
pub(super) fn read<'a, S: Sink>(
    frame: &Frame,
    tables: &Tables,
    parts: &[Part],
    data: Cursor<'a>,
    sink: &mut S,
) -> Result<(Cursor<'a>, Option<u8>), Refusal> {
    let codes = CodeTables::new(tables, parts)?;
    let mut components = components(frame, &codes, parts);
    let units = units(frame, parts)?;
    let mut segments = Segments::new(data)?;
    read_units(units, tables.restart_interval, &mut components, &mut segments, sink)?;
    Ok(segments.end())
}

/// The components of a scan, with their codes.
pub(super) fn components<'a>(frame: &Frame, codes: &'a CodeTables, parts: &[Part]) -> Vec<Component<'a>> {
    let alone = parts.len() == 1;
    let components = parts.iter().filter_map(|part| {
        let component = &frame.components[part.component];
        let (across, down) = if alone { (1, 1) } else { (component.horizontal, component.vertical) };
        let dc = codes.dc[usize::from(part.dc)].as_deref()?;
        let ac = codes.ac[usize::from(part.ac)].as_deref()?;
        Some(Component { index: part.component, dc, ac, across, down, prediction: 0 })
    });
    components.collect()
}

/// Units of a scan of the components `parts`, side by side and above each other.
pub(super) fn units(frame: &Frame, parts: &[Part]) -> Result<(usize, usize), Refusal> {
    let components = || parts.iter().map(|part| &frame.components[part.component]);
    // A component alone comes block by block, and without the blocks that only complete a unit.
    if let [only] = parts {
        return Ok(frame.blocks(&frame.components[only.component]));
    }
    if components().map(|component| component.horizontal * component.vertical).sum::<usize>() > MOST_BLOCKS {
        return Err(Refusal::faulty("a unit of a scan has too many blocks"));
    }
    Ok(frame.units())
}

/// Reads so many units, side by side and above each other. Shifts by a register are what most of the time goes to, so
/// processors that have them without flags get a version of their own.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt"))]
fn read_units<S: Sink>(
    units: (usize, usize),
    interval: usize,
    components: &mut [Component],
    segments: &mut Segments,
    sink: &mut S,
) -> Result<(), Refusal> {
    let (across, down) = units;
    let mut left = interval;
    for row in 0..down {
        for column in 0..across {
            if interval > 0 {
                if left == 0 {
                    segments.restart()?;
                    components.iter_mut().for_each(|component| component.prediction = 0);
                    left = interval;
                }
                left -= 1;
            }
            read_unit(row, column, components, segments, sink)?;
        }
        sink.end_row(row);
    }
    Ok(())
}

#[inline(always)]
fn read_unit<S: Sink>(
    row: usize,
    column: usize,
    components: &mut [Component],
    segments: &mut Segments,
    sink: &mut S,
) -> Result<(), Refusal> {
    for component in components {
        for down in 0..component.down {
            for across in 0..component.across {
                let place = Place {
                    component: component.index,
                    row: row * component.down + down,
                    column: column * component.across + across,
                };
                let block = sink.block(place);
                let extent = if segments.exhausted {
                    Extent::default()
                } else {
                    read_block(&mut segments.bits, component.dc, component.ac, &mut component.prediction, block)?
                };
                sink.take(place, extent);
            }
        }
    }
    segments.end_unit()
}

/// The data between the markers of a scan.
pub(super) struct Segments<'a> {
    pub(super) bits: Bits,
    /// Place behind the bits and the marker that ends them.
    file: Cursor<'a>,
    /// Code of the marker that ends the bits; `None` if the file ends before one.
    marker: Option<u8>,
    /// Whether there are too few bits for the units up to the next restart.
    pub(super) exhausted: bool,
    /// Number of the next restart marker, `0..8`.
    number: u8,
}

impl<'a> Segments<'a> {
    pub(super) fn new(mut file: Cursor<'a>) -> Result<Self, Refusal> {
        let mut bits = Bits::default();
        let marker = bits.begin(&mut file)?;
        Ok(Self { bits, file, marker, exhausted: false, number: 0 })
    }

    /// Takes notice that a unit is read. The unit whose data end too early is what it is with bits of 0 for those that are
    /// missing.
    #[inline(always)]
    pub(super) fn end_unit(&mut self) -> Result<(), Refusal> {
        if self.bits.overdrawn() {
            self.exhausted = true;
            if self.marker.is_none() {
                return Err(Refusal::CutShort);
            }
        }
        Ok(())
    }

    /// Whether the file ends behind these bits, without a marker.
    pub(super) fn is_last(&self) -> bool {
        self.marker.is_none()
    }

    /// The place behind the data and the code of the marker that was read there, or `None` if the file has ended.
    pub(super) fn end(self) -> (Cursor<'a>, Option<u8>) {
        (self.file, self.marker)
    }

    /// Goes on behind a restart marker.
    #[cold]
    pub(super) fn restart(&mut self) -> Result<(), Refusal> {
        let marker = self.marker.ok_or(Refusal::CutShort)?;
        let number = self.number;
        self.number = (number + 1) % 8;
        if let Some(missing) = self.file.restart(number, marker)? {
            self.marker = Some(missing);
            self.bits.clear();
            return Ok(());
        }
        self.marker = self.bits.begin(&mut self.file)?;
        self.exhausted = false;
        Ok(())
    }
}
