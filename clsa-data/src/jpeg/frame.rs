//! The frame of a file: its size, its components and their sampling, and which of them a scan has.

use super::cursor::Cursor;
use super::refusal::Refusal;
use super::tables::{split, whole};

/// Longest side in pixels, as libjpeg has it.
const LONGEST: usize = 65500;

/// How a frame's coefficients are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Sequential, by Huffman codes: baseline, and extended with 8 bits.
    Sequential,
    /// Progressive, by Huffman codes.
    Progressive,
    /// Sequential, by arithmetic.
    Arithmetic,
    /// Progressive, by arithmetic.
    ProgressiveArithmetic,
    /// Lossless.
    Lossless,
}

impl Coding {
    /// That of a frame whose marker has this code, SOF0 to SOF15 without DHT, JPG and DAC.
    fn of(code: u8) -> Result<Self, Refusal> {
        match code & 15 {
            0 | 1 => Ok(Self::Sequential),
            2 => Ok(Self::Progressive),
            9 => Ok(Self::Arithmetic),
            10 => Ok(Self::ProgressiveArithmetic),
            3 | 11 => Ok(Self::Lossless),
            kind => Err(Refusal::faulty(format!("a frame of kind {kind} is not supported"))),
        }
    }

    pub(super) fn is_progressive(self) -> bool {
        matches!(self, Self::Progressive | Self::ProgressiveArithmetic)
    }

    pub(super) fn is_arithmetic(self) -> bool {
        matches!(self, Self::Arithmetic | Self::ProgressiveArithmetic)
    }
}

/// A component of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factor, `1..=4` as soon as the frame is checked: blocks side by side in a unit of a scan.
    pub(super) horizontal: usize,
    /// Blocks above each other in a unit of a scan.
    pub(super) vertical: usize,
    /// Index of its table of quantizers.
    pub(super) quantizers: u8,
}

/// The frame of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) coding: Coding,
    /// Bits of a sample.
    pub(super) precision: u8,
    /// Pixels.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    /// Rows of blocks that an only component's vertical factor groups: libjpeg reads and smooths by such groups, though the
    /// factor has no other meaning. 1 for several components.
    pub(super) group: usize,
}

impl Frame {
    /// Reads the segment of a SOF marker.
    pub(super) fn read(code: u8, file: &mut Cursor) -> Result<Self, Refusal> {
        let coding = Coding::of(code)?;
        let length = file.length()?;
        let precision = file.byte()?;
        let (height, width) = (file.word()?.into(), file.word()?.into());
        let count = file.byte()?;
        if height == 0 || width == 0 || count == 0 {
            return Err(Refusal::faulty(format!("its size is {width}x{height}, with {count} components")));
        }
        whole(length - 6 - 3 * i32::from(count))?;
        let mut components = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (id, (horizontal, vertical), quantizers) = (file.byte()?, split(file.byte()?), file.byte()?);
            components.push(Component { id, horizontal: horizontal.into(), vertical: vertical.into(), quantizers });
        }
        Ok(Self { coding, precision, width, height, components, group: 1 })
    }

    /// Checks what Pillow and libjpeg check before they decode.
    pub(super) fn check(&mut self) -> Result<(), Refusal> {
        if self.precision != 8 {
            return Err(Refusal::faulty(format!("it is a JPEG of {} bits per channel, not of 8", self.precision)));
        }
        if self.width > LONGEST || self.height > LONGEST {
            return Err(Refusal::faulty(format!("a side is longer than {LONGEST} pixels")));
        }
        if !matches!(self.components.len(), 1 | 3 | 4) {
            return Err(Refusal::faulty(format!("it is a JPEG of {} components", self.components.len())));
        }
        let good =
            |component: &Component| (1..=4).contains(&component.horizontal) && (1..=4).contains(&component.vertical);
        if !self.components.iter().all(good) {
            return Err(Refusal::faulty("a sampling factor is not from 1 to 4"));
        }
        if let [only] = &mut self.components[..] {
            // It comes block by block, whatever its factors.
            self.group = only.vertical;
            (only.horizontal, only.vertical) = (1, 1);
        }
        Ok(())
    }

    /// The largest sampling factors, horizontal and vertical.
    pub(super) fn largest(&self) -> (usize, usize) {
        let largest = |factor: fn(&Component) -> usize| self.components.iter().map(factor).max().unwrap_or(1);
        (largest(|component| component.horizontal), largest(|component| component.vertical))
    }

    /// Units of a scan of all components, side by side and above each other.
    pub(super) fn units(&self) -> (usize, usize) {
        let (horizontal, vertical) = self.largest();
        (self.width.div_ceil(8 * horizontal), self.height.div_ceil(8 * vertical))
    }

    /// Samples of a component, side by side and above each other.
    pub(super) fn samples(&self, component: &Component) -> (usize, usize) {
        let (horizontal, vertical) = self.largest();
        (
            (self.width * component.horizontal).div_ceil(horizontal),
            (self.height * component.vertical).div_ceil(vertical),
        )
    }

    /// Blocks that have samples of a component, side by side and above each other.
    pub(super) fn blocks(&self, component: &Component) -> (usize, usize) {
        let (across, down) = self.samples(component);
        (across.div_ceil(8), down.div_ceil(8))
    }
}

/// A component within a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Which component of the frame it is.
    pub(super) component: usize,
    /// Indices of its tables: of Huffman codes, or of arithmetic coding.
    pub(super) dc: u8,
    pub(super) ac: u8,
}

/// What a progressive scan has of its coefficients (T.81, annex G.1). A sequential scan has all, whatever it states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spectrum {
    /// The first and the last coefficient, in zigzag order.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The lowest bit that the scans before have; 0 if this is the first one of its coefficients.
    pub(super) before: u32,
    /// The lowest bit that this scan has.
    pub(super) bit: u32,
}

/// What a SOS marker says of its scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    pub(super) spectrum: Spectrum,
}

/// Reads the segment of a SOS marker.
pub(super) fn read_scan(frame: &Frame, file: &mut Cursor) -> Result<Scan, Refusal> {
    let length = file.length()?;
    let count = file.byte()?;
    whole(length - 4 - 2 * i32::from(count))?;
    if !(1..=4).contains(&count) {
        return Err(Refusal::faulty(format!("a scan has {count} components")));
    }
    let mut parts: Vec<Part> = Vec::with_capacity(count.into());
    for place in 0..count.into() {
        let (id, (dc, ac)) = (file.byte()?, split(file.byte()?));
        // libjpeg, too, finds no component that is before this place in the frame.
        let candidates = frame.components.iter().enumerate().take(4).skip(place);
        let component = candidates.map(|(at, component)| (at, component.id)).find(|&(_, candidate)| candidate == id);
        match component {
            Some((component, _)) if parts.iter().all(|part| part.component != component) => {
                parts.push(Part { component, dc, ac });
            }
            _ => return Err(Refusal::faulty(format!("a scan has a component {id} that it cannot have"))),
        }
    }
    let (first, last, (before, bit)) = (file.byte()?.into(), file.byte()?.into(), split(file.byte()?));
    Ok(Scan { parts, spectrum: Spectrum { first, last, before: before.into(), bit: bit.into() } })
}
