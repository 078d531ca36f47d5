//! BMPs of forms that Pillow reads and the decoder refuses or makes other colors of: they are written anew in the plain form.

use std::ops::Range;

/// Bytes of the file header, which is before all.
const FILE_HEADER: usize = 14;
/// Bytes of the plain header.
const PLAIN_HEADER: usize = 40;
/// Bytes of the header of OS/2, whose sizes have 16 bits.
const OS2_HEADER: usize = 12;
/// `BI_BITFIELDS`: the bits of each color are stated.
const BIT_FIELDS: usize = 3;

/// What a header states.
struct Header {
    /// Bytes of it.
    length: usize,
    width: usize,
    height: usize,
    top_down: bool,
    planes: usize,
    bits: usize,
    compression: usize,
    /// Masks of red, green and blue, where they are stated.
    masks: Option<[usize; 3]>,
    /// The palette's bytes.
    palette: Range<usize>,
    /// Where the pixels begin, by the file header.
    stated_pixels: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize, length: usize| {
            let bytes = bytes.get(FILE_HEADER + at..FILE_HEADER + at + length)?;
            Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
        };
        let stated_pixels = bytes.get(10..14)?.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte));
        let length = number(0, 4)?;
        if length == OS2_HEADER {
            let (width, height, planes, bits) = (number(4, 2)?, number(6, 2)?, number(8, 2)?, number(10, 2)?);
            let colors = if bits <= 8 { 1 << bits } else { 0 };
            let begin = FILE_HEADER + length;
            let palette = begin..begin + 3 * colors;
            let (top_down, compression, masks) = (false, 0, None);
            return Some(Self {
                length,
                width,
                height,
                top_down,
                planes,
                bits,
                compression,
                masks,
                palette,
                stated_pixels,
            });
        }
        if ![PLAIN_HEADER, 52, 56, 64, 108, 124].contains(&length) {
            return None;
        }
        // A height below zero, two's complement, is that of a picture from top to bottom.
        let (width, height) = (number(4, 4)?, number(8, 4)?);
        let top_down = number(11, 1)? == 0xff;
        let height = if top_down { height.wrapping_neg() & 0xffff_ffff } else { height };
        let (planes, bits, compression) = (number(12, 2)?, number(14, 2)?, number(16, 4)?);
        let stated = compression == BIT_FIELDS;
        let mask = |color: usize| number(PLAIN_HEADER + 4 * color, 4);
        let masks = if stated { Some([mask(0)?, mask(1)?, mask(2)?]) } else { None };
        let begin = FILE_HEADER + length + if stated && length == PLAIN_HEADER { 12 } else { 0 };
        let colors = match number(32, 4)? {
            _ if bits > 8 => 0,
            0 => 1 << bits,
            colors => colors.min(1 << 16),
        };
        let palette = begin..begin + 4 * colors;
        Some(Self { length, width, height, top_down, planes, bits, compression, masks, palette, stated_pixels })
    }

    /// Bytes of a row of pixels of so many bits, without what fills it up to whole words.
    fn row(&self, bits: usize) -> usize {
        (self.width * bits).div_ceil(8)
    }

    /// Where the pixels begin: where the file header says, or behind the palette where it says nothing of use.
    fn pixels(&self) -> usize {
        let at_palette = self.bits <= 8 && self.stated_pixels == FILE_HEADER + self.length;
        if self.stated_pixels == 0 || at_palette { self.palette.end } else { self.stated_pixels }
    }
}

/// Whether a file begins as a BMP does.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(b"BM")
}

/// The file in the plain form; none where the decoder reads it as Pillow does, or Pillow does not read it.
pub(super) fn plain(bytes: &[u8], max_pixels: u64) -> Option<Vec<u8>> {
    let header = Header::read(bytes)?;
    let fields = header.masks.unwrap_or([0x7c00, 0x3e0, 0x1f]);
    let narrow = match (header.bits, fields) {
        (16, [0x7c00, 0x3e0, 0x1f]) => Some([31, 31, 31]),
        (16, [0xf800, 0x7e0, 0x1f]) => Some([31, 63, 31]),
        _ => None,
    };
    let raw = header.compression == 0 || header.compression == BIT_FIELDS;
    let (row, stride) = (header.row(header.bits), header.row(header.bits).next_multiple_of(4));
    let size = u64::try_from(header.width).ok()?.checked_mul(u64::try_from(header.height).ok()?)?;
    let known = matches!(header.bits, 1 | 4 | 8 | 16 | 24 | 32) && (header.bits != 16 || narrow.is_some());
    if !raw || !known || size == 0 || size > max_pixels {
        return None;
    }
    let pixels = bytes.get(header.pixels()..)?;
    let filled = stride * header.height;
    if pixels.len() < filled - stride + row {
        return None;
    }
    let of_24_fields = header.bits == 24 && header.masks == Some([0xff_0000, 0xff00, 0xff]);
    let is_plain = header.length != 64
        && header.planes == 1
        && header.pixels() == header.stated_pixels
        && narrow.is_none()
        && !of_24_fields
        && !(header.length == OS2_HEADER && header.bits == 32)
        && pixels.len() >= filled;
    if is_plain { None } else { Some(written(bytes, &header, pixels, narrow)) }
}

/// The file with the plain header. Pixels of 16 bits become 24, by the largest value of each color: Pillow's `BGR;15` and `BGR;16`.
fn written(bytes: &[u8], header: &Header, pixels: &[u8], narrow: Option<[u32; 3]>) -> Vec<u8> {
    let bits = if narrow.is_some() { 24 } else { header.bits };
    let masks = header.masks.filter(|_| header.bits == 32);
    let entry = if header.length == OS2_HEADER { 3 } else { 4 };
    let palette = bytes.get(header.palette.clone()).unwrap_or_default();
    let colors = palette.len() / entry;
    let begin = FILE_HEADER + PLAIN_HEADER + if masks.is_some() { 12 } else { 0 } + 4 * colors;
    let long = |value: usize| (value as u32).to_le_bytes();
    let height = if header.top_down { long(header.height.wrapping_neg()) } else { long(header.height) };
    let mut out = b"BM".to_vec();
    out.extend([[0; 4], [0; 4], long(begin), long(PLAIN_HEADER), long(header.width), height].concat());
    out.extend([1, 0, bits as u8, 0]);
    out.extend(
        [long(if masks.is_some() { BIT_FIELDS } else { 0 }), [0; 4], [0; 4], [0; 4], long(colors), [0; 4]].concat(),
    );
    out.extend(masks.iter().flatten().flat_map(|&mask| long(mask)));
    out.extend(palette.chunks_exact(entry).flat_map(|color| [color[0], color[1], color[2], 0]));
    for row in pixels.chunks(header.row(header.bits).next_multiple_of(4)).take(header.height) {
        let row = &row[..header.row(header.bits)];
        match narrow {
            None => out.extend(row),
            Some([red, green, blue]) => out.extend(row.chunks_exact(2).flat_map(|pixel| {
                let pixel = u32::from(u16::from_le_bytes([pixel[0], pixel[1]]));
                let (above_blue, above_green) = (pixel / (blue + 1), pixel / (blue + 1) / (green + 1));
                let wide = |value: u32, largest: u32| ((value & largest) * 255 / largest) as u8;
                [wide(pixel, blue), wide(above_blue, green), wide(above_green, red)]
            })),
        }
        out.resize(out.len() + header.row(bits).next_multiple_of(4) - header.row(bits), 0);
    }
    out
}
