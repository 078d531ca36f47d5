//! One scan of arithmetic coding, sequential or progressive (ITU-T T.81, F.2.4 and G.2), as libjpeg's `jdarith.c` reads it.

use super::arithmetic::{Bin, Decisions, EVEN};
use super::block::{Block, Extent};
use super::cursor::Cursor;
use super::frame::{Frame, Part, Scan, Spectrum};
use super::refusal::Refusal;
use super::scan::{Place, Sink, units};
use super::tables::{Conditioning, NATURAL, Tables};

/// The bin of a first coefficient's highest bit, from the second one on (T.81, table F.4).
const HIGHEST: usize = 20;
/// The same for the other coefficients, from the third bit on: low and high ones (table F.5).
const LOW_HIGHEST: usize = 189;
const HIGH_HIGHEST: usize = 217;

/// Reads the data of a scan from their beginning in the file, and gives its blocks to the sink. Returns the place behind what was
/// read, and the code of the marker that was read there, if one was.
pub(super) fn read<'a, S: Sink>(
    frame: &Frame,
    tables: &Tables,
    scan: &Scan,
    data: Cursor<'a>,
    sink: &mut S,
) -> Result<(Cursor<'a>, Option<u8>), Refusal> {
    let (across, down) = units(frame, &scan.parts)?;
    let alone = scan.parts.len() == 1;
    let kind = if frame.coding.is_progressive() { Kind::of(scan.spectrum) } else { Kind::All };
    let mut coder = Coder::new(kind, scan, &tables.conditioning, data)?;
    let (mut left, mut number) = (tables.restart_interval, 0);
    for row in 0..down {
        for column in 0..across {
            if tables.restart_interval > 0 {
                if left == 0 {
                    coder.restart(number)?;
                    (left, number) = (tables.restart_interval, (number + 1) % 8);
                }
                left -= 1;
            }
            for (at, part) in scan.parts.iter().enumerate() {
                let component = &frame.components[part.component];
                let (wide, high) = if alone { (1, 1) } else { (component.horizontal, component.vertical) };
                for y in 0..high {
                    for x in 0..wide {
                        let place = Place { component: part.component, row: row * high + y, column: column * wide + x };
                        let block = sink.block(place);
                        coder.read(at, part, block)?;
                        let extent = Extent::of(block);
                        sink.take(place, extent);
                    }
                }
            }
        }
        sink.end_row(row);
    }
    Ok(coder.decisions.end())
}

/// What a scan has of its coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All of them.
    All,
    /// The first bits of first coefficients.
    FirstMeans,
    /// One more bit of first coefficients.
    FurtherMeans,
    /// The first bits of others.
    FirstBits,
    /// One more bit of others.
    FurtherBits,
}

impl Kind {
    /// That of a progressive scan.
    fn of(spectrum: Spectrum) -> Self {
        match (spectrum.first, spectrum.before) {
            (0, 0) => Self::FirstMeans,
            (0, _) => Self::FurtherMeans,
            (_, 0) => Self::FirstBits,
            _ => Self::FurtherBits,
        }
    }
}

/// The estimates of a scan, for each table.
struct Estimates {
    dc: [[Bin; 64]; 16],
    ac: [[Bin; 256]; 16],
}

impl Estimates {
    const NONE: Self = Self { dc: [[0; 64]; 16], ac: [[0; 256]; 16] };
}

/// What a component's first coefficients are read by.
#[derive(Clone, Copy, Default)]
struct Mean {
    /// That of the block before.
    value: i16,
    /// The first bin, by the difference before.
    bin: usize,
}

/// Reads the blocks of a scan.
struct Coder<'a, 'b> {
    kind: Kind,
    spectrum: Spectrum,
    conditioning: &'b Conditioning,
    decisions: Decisions<'a>,
    estimates: Box<Estimates>,
    /// For each component of the scan.
    means: [Mean; 4],
}

impl<'a, 'b> Coder<'a, 'b> {
    fn new(kind: Kind, scan: &Scan, conditioning: &'b Conditioning, data: Cursor<'a>) -> Result<Self, Refusal> {
        // A sequential scan has all coefficients, whatever it states.
        let all = Spectrum { first: 1, last: 63, before: 0, bit: 0 };
        let spectrum = if kind == Kind::All { all } else { scan.spectrum };
        let (decisions, estimates) = (Decisions::new(data)?, Box::new(Estimates::NONE));
        Ok(Self { kind, spectrum, conditioning, decisions, estimates, means: Default::default() })
    }

    /// Begins anew behind the restart marker with this number.
    fn restart(&mut self, number: u8) -> Result<(), Refusal> {
        self.decisions.restart(number)?;
        *self.estimates = Estimates::NONE;
        self.means = Default::default();
        Ok(())
    }

    /// Reads the next block, of a component with this index in the scan.
    fn read(&mut self, at: usize, part: &Part, block: &mut Block) -> Result<(), Refusal> {
        match self.kind {
            Kind::All => {
                self.first_mean(at, part, block)?;
                self.first_bits(part, block)
            }
            Kind::FirstMeans => self.first_mean(at, part, block),
            Kind::FurtherMeans => {
                if self.decisions.decide(&mut { EVEN })? {
                    block.0[0] |= (1 << self.spectrum.bit) as i16;
                }
                Ok(())
            }
            Kind::FirstBits => self.first_bits(part, block),
            Kind::FurtherBits => self.further_bits(part, block),
        }
    }

    /// The first coefficient, as a difference to the one before (T.81, figures F.19 to F.24).
    fn first_mean(&mut self, at: usize, part: &Part, block: &mut Block) -> Result<(), Refusal> {
        let (decisions, mean) = (&mut self.decisions, &mut self.means[at]);
        let bins = &mut self.estimates.dc[usize::from(part.dc)];
        let first = std::mem::take(&mut mean.bin);
        if decisions.decide(&mut bins[first])? {
            let negative = decisions.decide(&mut bins[first + 1])?;
            let (magnitude, highest) = if decisions.decide(&mut bins[first + 2 + usize::from(negative)])? {
                decisions.magnitude(bins, HIGHEST, 1)?
            } else {
                (0, 0)
            };
            let (zero, small) = self.conditioning.dc[usize::from(part.dc)];
            mean.bin = match highest {
                highest if highest < 1 << zero >> 1 => 0,
                highest if highest > 1 << small >> 1 => 12,
                _ => 4,
            };
            if mean.bin > 0 && negative {
                mean.bin += 4;
            }
            mean.value = mean.value.wrapping_add(signed(magnitude, negative) as i16);
        }
        block.0[0] = (i32::from(mean.value) << self.spectrum.bit) as i16;
        Ok(())
    }

    /// Coefficients but the first, all or their first bits (T.81, figures F.20 to F.24, and G.2.1).
    fn first_bits(&mut self, part: &Part, block: &mut Block) -> Result<(), Refusal> {
        let decisions = &mut self.decisions;
        let bins = &mut self.estimates.ac[usize::from(part.ac)];
        let Spectrum { first, last, bit, .. } = self.spectrum;
        let mut index = first;
        while index <= last && !decisions.decide(&mut bins[3 * (index - 1)])? {
            while !decisions.decide(&mut bins[3 * (index - 1) + 1])? {
                index += 1;
                if index > last {
                    return Err(beyond());
                }
            }
            let negative = decisions.decide(&mut { EVEN })?;
            let second = 3 * (index - 1) + 2;
            let magnitude = if !decisions.decide(&mut bins[second])? {
                0
            } else if !decisions.decide(&mut bins[second])? {
                1
            } else {
                let low = index <= usize::from(self.conditioning.ac[usize::from(part.ac)]);
                decisions.magnitude(bins, if low { LOW_HIGHEST } else { HIGH_HIGHEST }, 2)?.0
            };
            block.0[usize::from(NATURAL[index])] = (signed(magnitude, negative) << bit) as i16;
            index += 1;
        }
        Ok(())
    }

    /// One more bit of coefficients but the first (T.81, figure G.10).
    fn further_bits(&mut self, part: &Part, block: &mut Block) -> Result<(), Refusal> {
        let decisions = &mut self.decisions;
        let bins = &mut self.estimates.ac[usize::from(part.ac)];
        let Spectrum { first, last, bit, .. } = self.spectrum;
        let one = 1 << bit;
        // The last coefficient that the scans before have.
        let natural = |index: usize| usize::from(NATURAL[index]);
        let before = (1..=last).rev().find(|&index| block.0[natural(index)] != 0).unwrap_or(0);
        let mut index = first;
        while index <= last {
            if index > before && decisions.decide(&mut bins[3 * (index - 1)])? {
                break;
            }
            loop {
                let coefficient = &mut block.0[natural(index)];
                if *coefficient != 0 {
                    if decisions.decide(&mut bins[3 * (index - 1) + 2])? {
                        *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -one } else { one });
                    }
                    break;
                }
                if decisions.decide(&mut bins[3 * (index - 1) + 1])? {
                    *coefficient = if decisions.decide(&mut { EVEN })? { -one } else { one };
                    break;
                }
                index += 1;
                if index > last {
                    return Err(beyond());
                }
            }
            index += 1;
        }
        Ok(())
    }
}

/// A coefficient by its magnitude less one.
fn signed(magnitude: i32, negative: bool) -> i32 {
    if negative { -magnitude - 1 } else { magnitude + 1 }
}

fn beyond() -> Refusal {
    Refusal::faulty("corrupt data: a coefficient is beyond its block")
}
