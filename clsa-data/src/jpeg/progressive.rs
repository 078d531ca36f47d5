//! One progressive scan (ITU-T T.81, annex G), with what libjpeg's `jdphuff.c` makes of data that end too early.

use multiversion::multiversion;

use super::bits::Bits;
use super::block::Block;
use super::cursor::Cursor;
use super::frame::{Frame, Scan, Spectrum};
use super::huffman::{Codes, Reader};
use super::kept::Kept;
use super::progress::Progress;
use super::refusal::Refusal;
use super::scan::{Place, Segments, Sink, units};
use super::tables::{NATURAL, Tables};

/// Reads the data of a scan from their beginning in the file into the blocks that are kept. Returns the place behind the data
/// and the code of the marker that was read there, or `None` if the file has ended.
pub(super) fn read<'a>(
    frame: &Frame,
    tables: &Tables,
    scan: &Scan,
    data: Cursor<'a>,
    kept: &mut Kept,
    progress: &mut Progress,
) -> Result<(Cursor<'a>, Option<u8>), Refusal> {
    let alone = scan.parts.len() == 1;
    let parts = scan.parts.iter().map(|part| {
        let component = &frame.components[part.component];
        let (across, down) = if alone { (1, 1) } else { (component.horizontal, component.vertical) };
        Component { index: part.component, across, down }
    });
    let group = if alone { frame.group * frame.components[scan.parts[0].component].vertical } else { 1 };
    let mut segments = Segments::new(data)?;
    let mut file = Data {
        components: parts.collect(),
        units: units(frame, &scan.parts)?,
        interval: tables.restart_interval,
        group,
        segments: &mut segments,
    };
    let Spectrum { first, last, before, bit } = scan.spectrum;
    let run = 0;
    match (first, before) {
        (0, 0) => {
            let codes = scan.parts.iter().map(|part| Codes::dc(tables.dc(part.dc)?).map(|codes| *codes));
            let codes = codes.collect::<Result<_, Refusal>>()?;
            read_units(&mut file, &mut FirstMeans { codes, predictions: [0; 4], bit }, kept, progress)?;
        }
        (0, _) => read_units(&mut file, &mut FurtherMeans { bit }, kept, progress)?,
        (_, 0) => {
            let codes = Codes::ac(tables.ac(scan.parts[0].ac)?)?;
            read_units(&mut file, &mut FirstBits { codes, first, last, bit, run }, kept, progress)?;
        }
        _ => {
            let codes = Codes::ac(tables.ac(scan.parts[0].ac)?)?;
            read_units(&mut file, &mut FurtherBits { codes, first, last, bit, run }, kept, progress)?;
        }
    }
    Ok(segments.end())
}

/// A component of the scan.
struct Component {
    /// Its index in the frame.
    index: usize,
    /// Blocks side by side, and above each other, in a unit of the scan.
    across: usize,
    down: usize,
}

/// What a scan is read from.
struct Data<'a, 'b> {
    components: Vec<Component>,
    /// Units side by side, and above each other.
    units: (usize, usize),
    /// Units between two restart markers, or 0.
    interval: usize,
    /// Rows of units of this scan in one of a scan of all components.
    group: usize,
    segments: &'b mut Segments<'a>,
}

/// How the blocks of a kind of scan are read.
trait Coder {
    /// Reads the next block, of a component with this index in the scan.
    fn read(&mut self, bits: &mut Bits, part: usize, block: &mut Block) -> Result<(), Refusal>;

    /// Begins anew behind a restart marker.
    fn restart(&mut self);
}

/// Reads the units of a scan.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt"))]
fn read_units<C: Coder>(
    data: &mut Data,
    coder: &mut C,
    kept: &mut Kept,
    progress: &mut Progress,
) -> Result<(), Refusal> {
    let (across, down) = data.units;
    let mut left = data.interval;
    for row in 0..down {
        for column in 0..across {
            if data.interval > 0 {
                if left == 0 {
                    data.segments.restart()?;
                    coder.restart();
                    left = data.interval;
                }
                left -= 1;
            }
            // Data that are missing leave what the scans before gave.
            if data.segments.exhausted {
                continue;
            }
            progress.last_row = row / data.group;
            for (part, component) in data.components.iter().enumerate() {
                for y in 0..component.down {
                    for x in 0..component.across {
                        let (row, column) = (row * component.down + y, column * component.across + x);
                        let block = kept.block(Place { component: component.index, row, column });
                        coder.read(&mut data.segments.bits, part, block)?;
                    }
                }
            }
            data.segments.end_unit()?;
        }
    }
    Ok(())
}

/// The first scan of first coefficients (G.1.2.1).
struct FirstMeans {
    /// For each component of the scan.
    codes: Vec<Codes>,
    predictions: [i32; 4],
    bit: u32,
}

impl Coder for FirstMeans {
    #[inline(always)]
    fn read(&mut self, bits: &mut Bits, part: usize, block: &mut Block) -> Result<(), Refusal> {
        let mut reader = Reader::new(bits);
        reader.refill();
        let entry = reader.entry(&self.codes[part])?;
        let prediction = &mut self.predictions[part];
        if entry.mask() != 0 {
            let difference = reader.coefficient(entry).into();
            let sum = prediction.checked_add(difference);
            *prediction = sum.ok_or_else(|| Refusal::faulty("corrupt data: a coefficient is too large"))?;
        } else {
            reader.skip(entry);
        }
        block.0[0] = (*prediction << self.bit) as i16;
        bits.set_position(reader.position());
        Ok(())
    }

    fn restart(&mut self) {
        self.predictions = [0; 4];
    }
}

/// A scan with one more bit of first coefficients.
struct FurtherMeans {
    bit: u32,
}

impl Coder for FurtherMeans {
    #[inline(always)]
    fn read(&mut self, bits: &mut Bits, _part: usize, block: &mut Block) -> Result<(), Refusal> {
        let mut reader = Reader::new(bits);
        reader.refill();
        block.0[0] |= (reader.number(1) << self.bit) as i16;
        bits.set_position(reader.position());
        Ok(())
    }

    fn restart(&mut self) {}
}

/// The first scan of other coefficients (G.1.2.2).
struct FirstBits {
    codes: Box<Codes>,
    first: usize,
    last: usize,
    bit: u32,
    /// Blocks without any code that come next.
    run: u32,
}

impl Coder for FirstBits {
    #[inline(always)]
    fn read(&mut self, bits: &mut Bits, _part: usize, block: &mut Block) -> Result<(), Refusal> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut reader = Reader::new(bits);
        let mut index = self.first;
        while index <= self.last {
            reader.refill();
            let entry = reader.entry(&self.codes)?;
            index += entry.run();
            if entry.mask() != 0 {
                let value = i32::from(reader.coefficient(entry)) << self.bit;
                block.0[usize::from(NATURAL[index]) & 63] = value as i16;
            } else {
                reader.skip(entry);
                if entry.run() != 15 {
                    self.run = (1 << entry.run()) + reader.number(entry.run()) - 1;
                    break;
                }
            }
            index += 1;
        }
        bits.set_position(reader.position());
        Ok(())
    }

    fn restart(&mut self) {
        self.run = 0;
    }
}

/// A scan with one more bit of other coefficients (G.1.2.3).
struct FurtherBits {
    codes: Box<Codes>,
    first: usize,
    last: usize,
    bit: u32,
    /// Blocks that come next, this one among them, whose coefficients that were 0 remain so.
    run: u32,
}

impl FurtherBits {
    /// Reads the bit of a coefficient that was not 0.
    #[inline(always)]
    fn refine(&self, reader: &mut Reader, coefficient: &mut i16) {
        reader.refill();
        let bit = 1 << self.bit;
        if reader.number(1) != 0 && *coefficient & bit == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { bit } else { -bit });
        }
    }
}

impl Coder for FurtherBits {
    #[inline(always)]
    fn read(&mut self, bits: &mut Bits, _part: usize, block: &mut Block) -> Result<(), Refusal> {
        let mut reader = Reader::new(bits);
        let mut index = self.first;
        let natural = |index: usize| usize::from(NATURAL[index]) & 63;
        while self.run == 0 && index <= self.last {
            reader.refill();
            let entry = reader.entry(&self.codes)?;
            let mut zeros = entry.run();
            let new = match entry.mask() {
                0 => {
                    reader.skip(entry);
                    if zeros != 15 {
                        self.run = (1 << zeros) + reader.number(zeros);
                        break;
                    }
                    0
                }
                1 => reader.coefficient(entry) << self.bit,
                _ => return Err(Refusal::faulty("corrupt data: a new coefficient of more than one bit")),
            };
            while index <= self.last {
                let coefficient = &mut block.0[natural(index)];
                if *coefficient != 0 {
                    self.refine(&mut reader, coefficient);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                index += 1;
            }
            // Like libjpeg, this writes behind the last coefficient where there are too few that are 0.
            if new != 0 {
                block.0[natural(index)] = new;
            }
            index += 1;
        }
        if self.run > 0 {
            for index in index..=self.last {
                let coefficient = &mut block.0[natural(index)];
                if *coefficient != 0 {
                    self.refine(&mut reader, coefficient);
                }
            }
            self.run -= 1;
        }
        bits.set_position(reader.position());
        Ok(())
    }

    fn restart(&mut self) {
        self.run = 0;
    }
}
