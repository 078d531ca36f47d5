//! PNG files that break the format's rules and that Pillow reads all the same, written anew without what is wrong.

use flate2::{Compression, Decompress, FlushDecompress, Status, write::ZlibEncoder};
use std::io::Write;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Whether a file begins as a PNG does.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
}

/// A chunk of a file, of which the checksum may be missing.
struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    checksum: &'a [u8],
}

impl Chunk<'_> {
    fn is_sound(&self) -> bool {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.kind);
        sum.update(self.data);
        self.checksum == sum.finalize().to_be_bytes()
    }
}

/// The chunks of a file, until it ends; the last one may have less data than it states.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.strip_prefix(SIGNATURE).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (&kind, after) = after.split_first_chunk()?;
        let length = (u32::from_be_bytes(*length) as usize).min(after.len());
        let (data, after) = after.split_at(length);
        let (checksum, after) = after.split_at(after.len().min(4));
        rest = after;
        Some(Chunk { kind, data, checksum })
    })
}

/// Whether a file has a palette that the decoder of PNG must not see.
pub(super) fn has_odd_palette(bytes: &[u8]) -> bool {
    let mut before_data = chunks(bytes).take_while(|chunk| chunk.kind != *b"IDAT");
    before_data.any(|chunk| chunk.kind == *b"PLTE" && (chunk.data.len() % 3 != 0 || chunk.data.len() > 768))
}

/// A file without what Pillow does not mind: a wrong checksum of the image's data, headers and palettes that a later one
/// replaces, unknown chunks, no palette (all colors are black), too few rows (the others are 0), no end. It has pixels, at most
/// `most`. An error is a reason.
pub(super) fn mended(bytes: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut header = None;
    let mut palette: &[u8] = &[];
    let mut file = chunks(bytes);
    let first = loop {
        let chunk = file.next().ok_or("it has no image data")?;
        match &chunk.kind {
            b"IDAT" => break chunk,
            b"IEND" => return Err("it has no image data".into()),
            _ if !chunk.is_sound() => return Err("a checksum before the image's data is wrong".into()),
            b"IHDR" => header = Some(Header::read(chunk.data)?),
            // As for Pillow, a palette before the header of an image with a palette is none.
            b"PLTE" if header.as_ref().is_some_and(|header| header.color == 3) => palette = chunk.data,
            _ => {}
        }
    };
    let header = header.ok_or("it has no header")?;
    if palette.len() / 3 > 256 {
        return Err("its palette has more than 256 colors".into());
    }
    let pixels = u64::from(header.width) * u64::from(header.height);
    if pixels == 0 || pixels > most {
        return Err(format!("its size is {}x{}", header.width, header.height));
    }
    let data = std::iter::once(first).chain(file.take_while(|chunk| chunk.kind == *b"IDAT"));
    let rows = inflated(data.map(|chunk| chunk.data), &header)?;
    let mut mended = SIGNATURE.to_vec();
    put(&mut mended, b"IHDR", &header.bytes());
    if header.color == 3 {
        let colors = (palette.len() / 3).min(1 << header.depth);
        let black = [0; 3];
        put(&mut mended, b"PLTE", if colors == 0 { &black } else { &palette[..3 * colors] });
    }
    let mut data = ZlibEncoder::new(Vec::new(), Compression::none());
    let written = data.write_all(&rows).and_then(|()| data.finish());
    put(&mut mended, b"IDAT", &written.map_err(|error| error.to_string())?);
    put(&mut mended, b"IEND", &[]);
    Ok(mended)
}

/// Adds a chunk to a file.
fn put(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    let begin = file.len() + 4;
    file.extend((data.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(data);
    file.extend(crc32fast::hash(&file[begin..]).to_be_bytes());
}

/// What an image's header says.
struct Header {
    width: u32,
    height: u32,
    /// Bits of a sample.
    depth: u8,
    /// Kind of color, as the format numbers them; 3 is for palettes.
    color: u8,
    interlaced: bool,
}

impl Header {
    fn read(data: &[u8]) -> Result<Self, String> {
        let Some(&[a, b, c, d, e, f, g, h, depth, color, _, filter, interlaced]) = data.first_chunk() else {
            return Err("its header is too short".into());
        };
        let kinds: &[u8] = match color {
            0 => &[1, 2, 4, 8, 16],
            3 => &[1, 2, 4, 8],
            2 | 4 | 6 => &[8, 16],
            _ => &[],
        };
        if !kinds.contains(&depth) || filter != 0 {
            return Err(format!("its header states color {color} of {depth} bits with filter {filter}"));
        }
        let (width, height) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Ok(Self { width, height, depth, color, interlaced: interlaced != 0 })
    }

    fn bytes(&self) -> Vec<u8> {
        let kind = [self.depth, self.color, 0, 0, self.interlaced.into()];
        [&self.width.to_be_bytes()[..], &self.height.to_be_bytes(), &kind].concat()
    }

    /// The lengths in bytes of all rows, each with the byte that tells its filter.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(self.color)];
        let bits = channels * usize::from(self.depth);
        // First column and row, and steps between columns and rows, of each pass of Adam7.
        let passes: &[[u32; 4]] = if self.interlaced {
            &[[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]]
        } else {
            &[[0, 0, 1, 1]]
        };
        let (width, height) = (self.width, self.height);
        passes.iter().flat_map(move |&[left, top, across, down]| {
            let columns = width.saturating_sub(left).div_ceil(across) as usize;
            let rows = if columns == 0 { 0 } else { height.saturating_sub(top).div_ceil(down) as usize };
            std::iter::repeat_n(1 + (columns * bits).div_ceil(8), rows)
        })
    }
}

/// The rows of an image. Where the stream of data ends after a whole row, the other rows are 0.
fn inflated<'a>(data: impl Iterator<Item = &'a [u8]>, header: &Header) -> Result<Vec<u8>, String> {
    let length: usize = header.rows().sum();
    let mut rows = Vec::with_capacity(length);
    let mut stream = Decompress::new(true);
    let mut ended = false;
    'data: for data in data {
        let mut rest = data;
        while rows.len() < length {
            let before = (stream.total_in(), rows.len());
            let status = stream.decompress_vec(rest, &mut rows, FlushDecompress::None);
            let status = match status {
                Ok(status) => status,
                // What follows the last row, as the sum of the data does, may be anything.
                Err(_) if rows.len() >= length => break 'data,
                Err(error) => return Err(format!("corrupt data: {error}")),
            };
            let taken = (stream.total_in() - before.0) as usize;
            rest = &rest[taken..];
            if status == Status::StreamEnd {
                ended = true;
                break 'data;
            }
            if taken == 0 && rows.len() == before.1 {
                break;
            }
        }
        if rows.len() >= length {
            break;
        }
    }
    rows.truncate(length);
    if rows.len() < length {
        let mut left = rows.len();
        let whole = header.rows().find_map(|row| {
            if left < row {
                Some(left == 0)
            } else {
                left -= row;
                None
            }
        });
        if !ended || whole != Some(true) {
            return Err("it is cut short: the data of the image end too early".into());
        }
        rows.resize(length, 0);
    }
    Ok(rows)
}
