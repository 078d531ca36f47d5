//! Huffman codes and the bits that follow them, and the blocks of a sequential scan (ITU-T T.81, annex F.2).

use super::bits::{Bits, Position};
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

/// What a code says, and how long it is: in the lowest 8 bits, how many bits the code and the coefficient after it take; in
/// the next 8, the run of zeros before the coefficient; in the highest 16, as many ones as the coefficient has bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u32);

impl Entry {
    /// That of a code which is longer than what is looked up.
    const LONG: Self = Self(0);

    /// That of a code of so many bits for a symbol.
    fn new(symbol: u8, length: u32) -> Self {
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        Self(((1 << size) - 1) << 16 | run << 8 | (length + size))
    }

    /// What takes the coefficient's bits from the lowest ones; 0 if there is no coefficient.
    #[inline(always)]
    pub(super) fn mask(self) -> u32 {
        self.0 >> 16
    }

    /// Bits of the code, and of the coefficient after it.
    pub(super) fn lengths(self) -> (usize, usize) {
        let coefficient = self.mask().count_ones();
        (((self.0 & 255) - coefficient) as usize, coefficient as usize)
    }

    #[inline(always)]
    pub(super) fn run(self) -> usize {
        (self.0 >> 8 & 255) as usize
    }
}

/// A Huffman table for coefficients.
pub(super) struct Codes {
    /// By the next bits, from the highest on.
    entries: [Entry; 1 << LOOKUP],
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
        Self::ac(table)
    }

    /// Those of a table for the other coefficients.
    pub(super) fn ac(table: &HuffmanTable) -> Result<Box<Self>, Refusal> {
        let entries = [Entry::LONG; 1 << LOOKUP];
        let mut codes = Box::new(Self { entries, largest: [-1; 17], offsets: [0; 17], symbols: table.symbols });
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
                    entries.fill(Entry::new(symbol, length));
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

    /// The entry of the code that begins `word`.
    #[inline(always)]
    fn look_up(&self, word: u64) -> Entry {
        self.entries[(word >> (u64::BITS - LOOKUP)) as usize]
    }

    /// The entry of the code that begins `word`, if it is longer than what is looked up.
    #[cold]
    #[inline(never)]
    fn search(&self, word: u64) -> Option<Entry> {
        (LOOKUP + 1..=16).find_map(|length| {
            let code = (word >> (u64::BITS - length)) as i32;
            let index = (code + self.offsets[length as usize]) as usize & 255;
            (code <= self.largest[length as usize]).then(|| Entry::new(self.symbols[index], length))
        })
    }
}

/// The bits of a block, read from a position that is kept in registers.
pub(super) struct Reader<'a> {
    bits: &'a Bits,
    position: Position,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub(super) fn new(bits: &'a Bits) -> Self {
        Self { position: bits.position(), bits }
    }

    /// Where the bits that are not yet taken begin.
    #[inline(always)]
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Makes at least 56 bits ready.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        self.position.refill(self.bits.bytes());
    }

    /// The entry of the next code, none of whose bits are taken. If it is looked up, its bits must be ready.
    ///
    /// libjpeg takes 17 bits that no code begins for one that stands for 0. Here, this is accepted beyond the end of the
    /// data alone.
    #[inline(always)]
    pub(super) fn entry(&mut self, codes: &Codes) -> Result<Entry, BadCode> {
        let entry = codes.look_up(self.position.word());
        if entry != Entry::LONG {
            return Ok(entry);
        }
        self.refill();
        if let Some(entry) = codes.search(self.position.word()) {
            return Ok(entry);
        }
        self.position.skip(17);
        if self.bits.overdrawn_at(self.position) { Ok(Entry(0)) } else { Err(BadCode) }
    }

    /// Takes the bits of an entry that has no coefficient.
    #[inline(always)]
    pub(super) fn skip(&mut self, entry: Entry) {
        self.position.skip(entry.0);
    }

    /// The number that the next bits are, fewer than 32 of them. They must be ready.
    #[inline(always)]
    pub(super) fn number(&mut self, bits: usize) -> u32 {
        let number = self.position.word() >> 32 >> (32 - bits);
        self.position.skip(bits as u32);
        number as u32
    }

    /// The coefficient of an entry, whose bits it takes (T.81, table F.1 and figure F.12).
    #[inline(always)]
    pub(super) fn coefficient(&mut self, entry: Entry) -> i16 {
        let mask = entry.mask();
        let value = (self.position.word() >> (u64::BITS - (entry.0 & 63))) as u32 & mask;
        self.position.skip(entry.0);
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
    let mut reader = Reader::new(bits);
    reader.refill();
    let entry = reader.entry(dc)?;
    if entry.mask() != 0 {
        *prediction = prediction.wrapping_add(reader.coefficient(entry));
    } else {
        reader.skip(entry);
    }
    block.0[0] = *prediction;
    let mut extent = Extent::default();
    let mut index = 1;
    'block: loop {
        reader.refill();
        // After any code and its coefficient, the bits that are ready are enough for one that is looked up.
        for _ in 0..2 {
            let entry = reader.entry(ac)?;
            index += entry.run();
            if entry.mask() != 0 {
                let natural = usize::from(NATURAL[index]) & 63;
                block.0[natural] = reader.coefficient(entry);
                extent.add(natural);
            } else {
                reader.skip(entry);
                if entry.run() != 15 {
                    break 'block;
                }
            }
            index += 1;
            if index >= 64 {
                break 'block;
            }
        }
    }
    bits.set_position(reader.position());
    Ok(extent)
}
