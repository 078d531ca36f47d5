//! The entropy-coded data of a baseline scan: Huffman codes and the bits that follow them (ITU-T T.81, annex F.2).
//!
//! Nothing here is an error: whatever is out of the ordinary is `None`, and the library decides what it means.

use libjpeg_turbo_rs::common::huffman_table::HuffmanTable;
use libjpeg_turbo_rs::common::quant_table::ZIGZAG_ORDER;

/// How many bits are looked up at once. More make longer codes fast, until the tables crowd the first-level cache.
const LOOKUP: u32 = 11;

/// Natural order of the zigzag's coefficients. What a run leads beyond the block, up to 15 places, is the last one, as in
/// libjpeg's `jpeg_natural_order`.
const NATURAL: [u8; 80] = {
    let mut natural = [63; 80];
    let mut index = 0;
    while index < ZIGZAG_ORDER.len() {
        natural[index] = ZIGZAG_ORDER[index] as u8;
        index += 1;
    }
    natural
};

/// The bits of a scan, without stuffed bytes and markers.
pub(super) struct Bits {
    /// The data, and zeros enough for a word to be read at their end.
    bytes: Vec<u8>,
    /// Bits of data.
    available: usize,
    /// Place of the next byte to be taken.
    next: usize,
    /// Bits taken from the bytes, the next one highest.
    word: u64,
    /// How many of them there are.
    count: u32,
}

impl Bits {
    /// The scan whose data begin `scan`, up to the first marker.
    pub(super) fn new(scan: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(scan.len() + 2 * size_of::<u64>());
        let mut rest = scan;
        while let Some(at) = memchr::memchr(0xff, rest) {
            if rest.get(at + 1) != Some(&0) {
                rest = &rest[..at];
                break;
            }
            bytes.extend_from_slice(&rest[..=at]);
            rest = &rest[at + 2..];
        }
        bytes.extend_from_slice(rest);
        let available = 8 * bytes.len();
        bytes.resize(bytes.len() + 2 * size_of::<u64>(), 0);
        Self { bytes, available, next: 0, word: 0, count: 0 }
    }

    /// Whether more bits were taken than there are.
    pub(super) fn overdrawn(&self) -> bool {
        8 * self.next > self.available + self.count as usize
    }

    /// Makes at least 56 bits ready, of which those beyond the end are 0.
    #[inline(always)]
    fn refill(&mut self) {
        if let Some(&bytes) = self.bytes.get(self.next..).and_then(<[u8]>::first_chunk) {
            self.word |= u64::from_be_bytes(bytes) >> self.count;
        }
        let taken = (63 - self.count) / 8;
        self.next += taken as usize;
        self.count += 8 * taken;
    }

    /// The next `1..=16` bits.
    #[inline(always)]
    fn peek(&self, bits: u32) -> u32 {
        (self.word >> (u64::BITS - bits)) as u32
    }

    #[inline(always)]
    fn skip(&mut self, bits: u32) {
        self.word <<= bits;
        self.count -= bits;
    }
}

/// A Huffman table for coefficients.
pub(super) struct Codes<'a> {
    table: &'a HuffmanTable,
    /// By the next bits, from the highest: 16 bits of the coefficient's value, 4 of the run of zeros before it, 4 of its
    /// size, 8 of the bits that it takes. A value of 0 says that it did not fit or that there is none, and the bits are
    /// those of the code alone; 0 in all says that the code did not fit.
    entries: Box<[u32; 1 << LOOKUP]>,
}

impl<'a> Codes<'a> {
    pub(super) fn new(table: &'a HuffmanTable) -> Self {
        let mut entries = Box::new([0; 1 << LOOKUP]);
        let mut at = 0;
        while at < entries.len() {
            let code = table.lookup((at << (16 - LOOKUP)) as u16);
            let Some((symbol, length)) = code.ok().filter(|&(_, length)| u32::from(length) <= LOOKUP) else {
                at += 1;
                continue;
            };
            let (size, length) = (u32::from(symbol & 15), u32::from(length));
            let end = at + (1 << (LOOKUP - length));
            for (bits, entry) in entries[at..end].iter_mut().enumerate() {
                *entry = match (LOOKUP - length).checked_sub(size) {
                    Some(left) if size > 0 => {
                        let value = extend(bits as u32 >> left, size);
                        (value as u32) << 16 | u32::from(symbol) << 8 | (length + size)
                    }
                    _ => u32::from(symbol) << 8 | length,
                };
            }
            at = end;
        }
        Self { table, entries }
    }

    /// The next symbol's run and size, and the value that follows it.
    #[inline(always)]
    fn next(&self, bits: &mut Bits) -> Option<(usize, u32, i16)> {
        bits.refill();
        let entry = self.entries[bits.peek(LOOKUP) as usize];
        let (run, size, value) = ((entry >> 12 & 15) as usize, entry >> 8 & 15, (entry >> 16) as i16);
        if value != 0 {
            bits.skip(entry & 255);
            return Some((run, size, value));
        }
        let (run, size, length) = if entry != 0 { (run, size, entry & 255) } else { self.long(bits.peek(16) as u16)? };
        bits.skip(length);
        if size == 0 {
            return Some((run, 0, 0));
        }
        let value = extend(bits.peek(size), size);
        bits.skip(size);
        Some((run, size, value))
    }

    /// Run, size and length of a code that is longer than what is looked up, from 16 bits.
    #[cold]
    #[inline(never)]
    fn long(&self, bits: u16) -> Option<(usize, u32, u32)> {
        let (symbol, length) = self.table.lookup(bits).ok()?;
        Some((usize::from(symbol >> 4), u32::from(symbol & 15), u32::from(length)))
    }
}

/// The value that `size` bits, at least 1, stand for (T.81, table F.1 and figure F.12).
#[inline(always)]
fn extend(bits: u32, size: u32) -> i16 {
    let negative = if bits >> (size - 1) == 0 { (1 << size) - 1 } else { 0 };
    (bits as i32 - negative) as i16
}

/// The next block: its coefficients in natural order, not yet multiplied by their quantisers. Tells whether all but the
/// first are 0. `prediction` is the first coefficient of the component's block before.
#[inline(always)]
pub(super) fn block(
    bits: &mut Bits,
    dc: &Codes,
    ac: &Codes,
    prediction: &mut i16,
    coefficients: &mut [i16; 64],
) -> Option<bool> {
    *coefficients = [0; 64];
    let (0, _, difference) = dc.next(bits)? else { return None };
    *prediction = prediction.wrapping_add(difference);
    coefficients[0] = *prediction;
    let mut index = 1;
    let mut flat = true;
    while index < 64 {
        let (run, size, value) = ac.next(bits)?;
        index += run;
        if size > 0 {
            coefficients[usize::from(NATURAL[index] & 63)] = value;
            flat = false;
        } else if run < 15 {
            return Some(flat);
        }
        index += 1;
    }
    Some(flat)
}
