//! What libjpeg-turbo reads ahead of the bits that it needs. It matters where a file ends without a marker: libjpeg then waits for
//! more, and Pillow refuses the file, although every block is there.

use super::bits::Bits;
use super::cursor::Cursor;
use super::frame::{Frame, Part};
use super::huffman::{BadCode, Codes, Entry, Reader};
use super::refusal::Refusal;
use super::scan::{CodeTables, Component, Segments, components, units};
use super::tables::Tables;

/// Bits that are ready after more were taken (`MIN_GET_BITS` of jdhuff.h, where a word has 64 bits).
const READY: usize = 57;
/// Bits of a code that are looked up at once (`HUFF_LOOKAHEAD`).
const LOOKUP: usize = 8;
/// A unit is read by `decode_mcu_fast` where so many bytes are there for each of its blocks.
const FAST_BYTES: usize = 512;
/// There, bytes are taken where no more bits than these are ready.
const FAST_FEW: usize = 16;
/// And so many at once.
const FAST_MORE: usize = 6;
/// Bytes that Pillow gives at once (`ImageFile.MAXBLOCK`).
const GIVEN: usize = 65536;

/// Whether libjpeg asks for bytes behind the end of the file, in which it finds no marker, while it decodes a scan that is all there.
pub(super) fn asks_for_more(frame: &Frame, tables: &Tables, parts: &[Part], data: Cursor) -> Result<bool, Refusal> {
    let codes = CodeTables::new(tables, parts)?;
    let components = components(frame, &codes, parts);
    let (across, down) = units(frame, parts)?;
    let mut file = File::before(&data);
    let mut segments = Segments::new(data)?;
    let mut ahead = Ahead::default();
    let mut left = tables.restart_interval;
    for _ in 0..across * down {
        if tables.restart_interval > 0 {
            if left == 0 {
                segments.restart()?;
                ahead = Ahead::default();
                left = tables.restart_interval;
            }
            left -= 1;
        }
        if segments.exhausted {
            continue;
        }
        // A unit for which bytes were missing is read anew when Pillow has given more. With restart markers, how much was given makes
        // no difference, and the missing bytes are those of the segment.
        let (begin, before) = (segments.bits.position(), ahead);
        loop {
            ahead.fast = tables.restart_interval == 0 && file.has(&ahead, FAST_BYTES * blocks(&components));
            ahead.read_unit(&mut segments.bits, &components)?;
            let enough = if tables.restart_interval > 0 {
                ahead.taken <= segments.bits.data_bytes()
            } else {
                file.has(&ahead, 0)
            };
            if enough || !segments.is_last() {
                break;
            }
            if tables.restart_interval > 0 || !file.give() {
                return Ok(true);
            }
            segments.bits.set_position(begin);
            ahead = before;
        }
        segments.end_unit()?;
    }
    Ok(false)
}

fn blocks(components: &[Component]) -> usize {
    components.iter().map(|component| component.across * component.down).sum()
}

/// The file, as far as Pillow has given it.
struct File {
    /// Where the scan's data begin.
    data: usize,
    given: usize,
    /// Bytes that can be used.
    size: usize,
}

impl File {
    fn before(data: &Cursor) -> Self {
        let bytes = data.rest();
        // Of a byte 0xff, the next one is needed too.
        let used = bytes.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
        let (data, size) = (data.at(), data.at() + used);
        Self { data, given: data.next_multiple_of(GIVEN).min(size), size }
    }

    /// Whether so many bytes are there behind those that were taken.
    fn has(&self, ahead: &Ahead, bytes: usize) -> bool {
        self.data + ahead.taken + ahead.stuffed + bytes <= self.given
    }

    /// Gives more, if there is any.
    fn give(&mut self) -> bool {
        let before = self.given;
        self.given = (before + GIVEN).min(self.size);
        self.given > before
    }
}

/// The bits that libjpeg has taken from a segment and not yet used.
#[derive(Clone, Copy, Default)]
struct Ahead {
    ready: usize,
    /// Bytes that were taken, without stuffed ones, and the stuffed ones.
    taken: usize,
    stuffed: usize,
    /// Whether the unit is read by `decode_mcu_fast`.
    fast: bool,
}

impl Ahead {
    fn read_unit(&mut self, bits: &mut Bits, components: &[Component]) -> Result<(), BadCode> {
        for component in components {
            for _ in 0..component.across * component.down {
                self.read_block(bits, component.dc, component.ac)?;
            }
        }
        Ok(())
    }

    fn read_block(&mut self, bits: &mut Bits, dc: &Codes, ac: &Codes) -> Result<(), BadCode> {
        let mut reader = Reader::new(bits);
        self.read_entry(&mut reader, bits, dc)?;
        let mut index = 1;
        while index < 64 {
            let entry = self.read_entry(&mut reader, bits, ac)?;
            index += entry.run() + 1;
            if entry.mask() == 0 && entry.run() != 15 {
                break;
            }
        }
        bits.set_position(reader.position());
        Ok(())
    }

    /// Reads a code and the coefficient behind it.
    fn read_entry(&mut self, reader: &mut Reader, bits: &Bits, codes: &Codes) -> Result<Entry, BadCode> {
        reader.refill();
        let entry = reader.entry(codes)?;
        reader.skip(entry);
        let (code, coefficient) = entry.lengths();
        self.need(LOOKUP, bits);
        if code > LOOKUP && !self.fast {
            // What is not looked up is read with one bit more, and goes on bit by bit.
            self.need(LOOKUP + 1, bits);
            self.ready -= LOOKUP + 1;
            for _ in LOOKUP + 1..code {
                self.need(1, bits);
                self.ready -= 1;
            }
        } else {
            self.ready -= code;
        }
        if coefficient > 0 {
            self.need(coefficient, bits);
            self.ready -= coefficient;
        }
        Ok(entry)
    }

    /// Makes sure that so many bits are ready.
    fn need(&mut self, bits: usize, data: &Bits) {
        let more = match self.fast {
            true if self.ready <= FAST_FEW => FAST_MORE,
            false if self.ready < bits => (READY - self.ready).div_ceil(8),
            _ => return,
        };
        let taken = data.bytes().iter().skip(self.taken).take(more);
        self.stuffed += taken.filter(|&&byte| byte == 0xff).count();
        self.taken += more;
        self.ready += 8 * more;
    }
}
