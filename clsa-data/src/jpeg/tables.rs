//! What a file defines for its scans: quantizers, Huffman tables, the conditioning of arithmetic coding and the restart interval.

use super::block::Block;
use super::cursor::Cursor;
use super::refusal::Refusal;
use super::standard;

/// Natural order (row by row) of the coefficients that a file has in zigzag order. What a run leads beyond the block, up
/// to 15 places, is the last one, as in libjpeg's `jpeg_natural_order`.
pub(super) const NATURAL: [u8; 80] = {
    let mut natural = [63; 80];
    let (mut index, mut diagonal) = (0, 0);
    while diagonal < 15 {
        let first = if diagonal < 8 { 0 } else { diagonal - 7 };
        let last = diagonal - first;
        let mut step = first;
        while step <= last {
            let (row, column) = if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
            natural[index] = (8 * row + column) as u8;
            index += 1;
            step += 1;
        }
        diagonal += 1;
    }
    natural
};

/// A Huffman table as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HuffmanTable {
    /// How many codes there are of each length, from 1 on.
    pub(super) counts: [u8; 16],
    /// What the codes stand for, from the shortest on.
    pub(super) symbols: [u8; 256],
}

impl HuffmanTable {
    fn new((counts, symbols): standard::Definition) -> Self {
        let mut table = Self { counts, symbols: [0; 256] };
        table.symbols[..symbols.len()].copy_from_slice(symbols);
        table
    }
}

/// What arithmetic coding takes its estimates by (T.81, F.1.4.4.1.4 and F.1.4.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditioning {
    /// For each table, the bits of differences of first coefficients up to which one counts as 0, and up to which as small.
    pub(super) dc: [(u8, u8); 16],
    /// For each table, the last of the other coefficients, in zigzag order, that count as low ones.
    pub(super) ac: [u8; 16],
}

impl Default for Conditioning {
    fn default() -> Self {
        Self { dc: [(0, 1); 16], ac: [5; 16] }
    }
}

/// What a file has defined so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// In natural order.
    quantizers: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    pub(super) conditioning: Conditioning,
    /// Units of a scan between two restart markers, or 0.
    pub(super) restart_interval: usize,
}

impl Tables {
    /// The table of quantizers with an index, as the 16 bits that coefficients are multiplied by.
    pub(super) fn quantizers(&self, index: u8) -> Result<Block, Refusal> {
        let missing = || Refusal::faulty(format!("quantization table {index} is not defined"));
        let table = self.quantizers.get(usize::from(index)).and_then(Option::as_ref).ok_or_else(missing)?;
        Ok(Block(table.map(|value| value as i16)))
    }

    pub(super) fn dc(&self, index: u8) -> Result<&HuffmanTable, Refusal> {
        let missing = || Refusal::faulty(format!("Huffman table {index} is not defined"));
        self.dc.get(usize::from(index)).and_then(Option::as_ref).ok_or_else(missing)
    }

    pub(super) fn ac(&self, index: u8) -> Result<&HuffmanTable, Refusal> {
        let missing = || Refusal::faulty(format!("Huffman table {index} is not defined"));
        self.ac.get(usize::from(index)).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// Defines the standard's Huffman tables where the file defines none, as the frames of Motion JPEG need it.
    pub(super) fn add_standard(&mut self) {
        for (place, standard) in self.dc.iter_mut().zip(standard::DC).chain(self.ac.iter_mut().zip(standard::AC)) {
            place.get_or_insert_with(|| HuffmanTable::new(standard));
        }
    }

    /// Reads the segment of a DQT marker.
    pub(super) fn read_quantizers(&mut self, file: &mut Cursor) -> Result<(), Refusal> {
        let mut length = file.length()?;
        while length > 0 {
            let (wide, index) = split(file.byte()?);
            let table = self.quantizers.get_mut(usize::from(index));
            let table = table.ok_or_else(|| Refusal::faulty(format!("there is no quantization table {index}")))?;
            let table = table.get_or_insert([0; 64]);
            for &natural in &NATURAL[..64] {
                table[usize::from(natural)] = if wide != 0 { file.word()? } else { file.byte()?.into() };
            }
            length -= if wide != 0 { 129 } else { 65 };
        }
        whole(length)
    }

    /// Reads the segment of a DHT marker.
    pub(super) fn read_huffman_tables(&mut self, file: &mut Cursor) -> Result<(), Refusal> {
        let mut length = file.length()?;
        while length > 16 {
            let index = file.byte()?;
            let mut table = HuffmanTable { counts: [0; 16], symbols: [0; 256] };
            for count in &mut table.counts {
                *count = file.byte()?;
            }
            let count: i32 = table.counts.iter().map(|&count| i32::from(count)).sum();
            length -= 17;
            if count > 256 || count > length {
                return Err(Refusal::faulty("a Huffman table has more codes than its segment has room for"));
            }
            for symbol in &mut table.symbols[..count as usize] {
                *symbol = file.byte()?;
            }
            length -= count;
            let tables = if index & 0x10 != 0 { &mut self.ac } else { &mut self.dc };
            let place = tables.get_mut(usize::from(index & !0x10));
            *place.ok_or_else(|| Refusal::faulty(format!("there is no Huffman table {index}")))? = Some(table);
        }
        whole(length)
    }

    /// Reads the segment of a DRI marker.
    pub(super) fn read_restart_interval(&mut self, file: &mut Cursor) -> Result<(), Refusal> {
        whole(file.length()? - 2)?;
        self.restart_interval = file.word()?.into();
        Ok(())
    }

    /// Reads the segment of a DAC marker.
    pub(super) fn read_conditioning(&mut self, file: &mut Cursor) -> Result<(), Refusal> {
        let mut length = file.length()?;
        while length > 0 {
            let (index, value) = (usize::from(file.byte()?), file.byte()?);
            let (small, zero) = split(value);
            match index {
                0..16 if zero <= small => self.conditioning.dc[index] = (zero, small),
                16..32 => self.conditioning.ac[index - 16] = value,
                _ => return Err(Refusal::faulty("the conditioning of arithmetic coding is none")),
            }
            length -= 2;
        }
        whole(length)
    }

    /// Forgets what a further beginning of an image resets; quantizers and Huffman tables stay.
    pub(super) fn begin_image(&mut self) {
        self.restart_interval = 0;
        self.conditioning = Conditioning::default();
    }
}

/// Refuses a segment of whose length `left` bytes remain or are missing.
pub(super) fn whole(left: i32) -> Result<(), Refusal> {
    if left == 0 { Ok(()) } else { Err(Refusal::faulty("the length of a segment is not that of its content")) }
}

/// The higher and the lower four bits of a byte.
pub(super) fn split(byte: u8) -> (u8, u8) {
    (byte >> 4, byte & 15)
}

#[cfg(test)]
mod tests {
    use super::NATURAL;

    #[test]
    fn zigzag_order_is_that_of_the_standard() {
        // T.81, figure A.6: the zigzag index of each coefficient in natural order.
        let zigzag = [
            [0, 1, 5, 6, 14, 15, 27, 28],
            [2, 4, 7, 13, 16, 26, 29, 42],
            [3, 8, 12, 17, 25, 30, 41, 43],
            [9, 11, 18, 24, 31, 40, 44, 53],
            [10, 19, 23, 32, 39, 45, 52, 54],
            [20, 22, 33, 38, 46, 51, 55, 60],
            [21, 34, 37, 47, 50, 56, 59, 61],
            [35, 36, 48, 49, 57, 58, 62, 63],
        ];
        for (natural, index) in zigzag.into_iter().flatten().enumerate() {
            assert_eq!(usize::from(NATURAL[index]), natural);
        }
        assert_eq!(NATURAL[64..], [63; 16]);
    }
}
