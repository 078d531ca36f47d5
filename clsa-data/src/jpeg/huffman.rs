//! The blocks of a sequential scan: Huffman codes and the bits that follow them (ITU-T T.81, annex F.2).

use super::bits::{Bits, Place};
use super::block::{Block, Extent};
use super::refusal::Refusal;
use super::tables::{HuffmanTable, NATURAL};

/// How many bits are looked up at once. More make more codes fast, until the tables crowd the first-level cache.
const LOOKUP: u32 = 9;

/// A code that is in no table.
#[derive(Debug)]
pub(super) struct BadCode;

impl From<BadCode> for Refusal {
    fn from(_: BadCode) -> Self {
        Self::faulty("corrupt data: a Huffman code that is in no table")
    }
}

/// A Huffman table for coefficients.
pub(super) struct Codes {
    /// By the next bits, from the highest: 16 bits that mask the coefficient's bits, 8 of the run of zeros before it, 8 of
    /// how many bits the code and the coefficient take. 0 says that the code is longer than what is looked up.
    entries: [u32; 1 << LOOKUP],
    /// The largest code of each length, or -1.
    largest: [i32; 17],
    /// What is added to a code of each length for the index of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl Codes {
    /// Those of a table for first coefficients, of which the symbols are sizes alone.
    pub(super) fn dc(table: &HuffmanTable) -> Result<Box<Self>, Refusal> {
        let count: usize = table.counts.iter().map(|&count| usize::from(count)).sum();
        if table.symbols.iter().take(count).any(|&symbol| symbol > 15) {
            return Err(Refusal::faulty("a Huffman table has a size that no first coefficient has"));
        }
        Self::new(table)
    }

    /// Those of a table for the other coefficients.
    pub(super) fn ac(table: &HuffmanTable) -> Result<Box<Self>, Refusal> {
        Self::new(table)
    }

    fn new(table: &HuffmanTable) -> Result<Box<Self>, Refusal> {
        let mut codes =
            Box::new(Self { entries: [0; 1 << LOOKUP], largest: [-1; 17], offsets: [0; 17], symbols: table.symbols });
        let mut symbols = table.symbols.iter();
        let (mut code, mut index) = (0, 0);
        for (length, &count) in (1..).zip(&table.counts) {
            let count = i32::from(count);
            // No code is of ones alone.
            if count > 0 && (code + count >= 1 << length || index + count > 256) {
                return Err(Refusal::faulty("a Huffman table has more codes than there are"));
            }
            codes.offsets[length as usize] = index - code;
            if length <= LOOKUP {
                let each = 1 << (LOOKUP - length);
                let first = code as usize * each;
                let entries = &mut codes.entries[first..first + count as usize * each];
                for (entries, &symbol) in entries.chunks_exact_mut(each).zip(&mut symbols) {
                    entries.fill(entry(symbol, length));
                }
            }
            (code, index) = (code + count, index + count);
            if count > 0 {
                codes.largest[length as usize] = code - 1;
            }
            code *= 2;
        }
        Ok(codes)
    }

    /// The entry of the code that begins `word`, or 0 if it is not looked up.
    #[inline(always)]
    fn entry(&self, word: u64) -> u32 {
        self.entries[(word >> (u64::BITS - LOOKUP)) as usize]
    }

    /// The entry of the code that begins `word`, which is longer than what is looked up.
    #[cold]
    #[inline(never)]
    fn long_entry(&self, word: u64) -> Option<u32> {
        (LOOKUP + 1..=16).find_map(|length| {
            let code = (word >> (u64::BITS - length)) as i32;
            (code <= self.largest[length as usize]).then(|| {
                let symbol = self.symbols[(code + self.offsets[length as usize]) as usize & 255];
                entry(symbol, length)
            })
        })
    }
}

/// The entry of a symbol whose code is so many bits long.
fn entry(symbol: u8, length: u32) -> u32 {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    ((1 << size) - 1) << 16 | run << 8 | (length + size)
}

/// The bits of a block, from which symbols are read.
struct Reader<'a> {
    bits: &'a Bits,
    place: Place,
}

impl Reader<'_> {
    /// The entry of the next code, which is not looked up. Makes its bits ready, and those of the coefficient.
    ///
    /// libjpeg takes 17 bits that are no code in the table for one that stands for 0. Here, this is accepted beyond the end
    /// of the data alone.
    #[inline(always)]
    fn long_entry(&mut self, codes: &Codes) -> Result<u32, BadCode> {
        self.place.refill(self.bits.bytes());
        if let Some(entry) = codes.long_entry(self.place.word()) {
            return Ok(entry);
        }
        self.place.skip(17);
        if self.bits.overdrawn_at(self.place) { Ok(0) } else { Err(BadCode) }
    }

    /// The coefficient of an entry, whose bits it takes (T.81, table F.1 and figure F.12).
    #[inline(always)]
    fn coefficient(&mut self, entry: u32) -> i16 {
        let mask = entry >> 16;
        let value = (self.place.word() >> (u64::BITS - (entry & 63))) as u32 & mask;
        self.place.skip(entry);
        let negative = if value <= mask >> 1 { mask } else { 0 };
        (value as i32 - negative as i32) as i16
    }
}

/// Reads the next block into `block`, which is 0, in natural order and not yet multiplied by the quantizers. `prediction`
/// is the first coefficient of the component's block before.
#[inline(always)]
pub(super) fn read_block(
    bits: &mut Bits,
    dc: &Codes,
    ac: &Codes,
    prediction: &mut i16,
    block: &mut Block,
) -> Result<Extent, BadCode> {
    let mut reader = Reader { place: bits.place(), bits };
    reader.place.refill(reader.bits.bytes());
    let mut entry = dc.entry(reader.place.word());
    if entry == 0 {
        entry = reader.long_entry(dc)?;
    }
    if entry >> 16 != 0 {
        *prediction = prediction.wrapping_add(reader.coefficient(entry));
    } else {
        reader.place.skip(entry);
    }
    block.0[0] = *prediction;
    let mut extent = Extent::default();
    let mut index = 1;
    'block: loop {
        reader.place.refill(reader.bits.bytes());
        // The longest code with its coefficient leaves enough bits for one that is looked up.
        for _ in 0..2 {
            let mut entry = ac.entry(reader.place.word());
            if entry == 0 {
                entry = reader.long_entry(ac)?;
            }
            index += (entry >> 8 & 255) as usize;
            if entry >> 16 != 0 {
                let natural = usize::from(NATURAL[index]) & 63;
                block.0[natural] = reader.coefficient(entry);
                extent.add(natural);
            } else {
                reader.place.skip(entry);
                if entry >> 8 & 255 != 15 {
                    break 'block;
                }
            }
            index += 1;
            if index >= 64 {
                break 'block;
            }
        }
    }
    let place = reader.place;
    bits.set_place(place);
    Ok(extent)
}
