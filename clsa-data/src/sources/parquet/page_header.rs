//! The header of a page, a struct in Thrift's compact protocol, as far as it says how large the page is.

use std::io::{self, Error, ErrorKind, Read};

/// The struct itself, and that in it which is about a page of version 2; others count as [`OTHER`].
const TOP: i64 = 0;
const VERSION_2: i64 = 8;
const OTHER: i64 = -1;

/// Structs in structs; the format needs four.
const MOST_DEPTH: u32 = 16;

/// What a page's header states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the page when it is unpacked.
    pub unpacked: i64,
    /// Bytes of the page in the file, behind its header.
    pub packed: i64,
    /// Bytes at the beginning of a page of version 2 that are not packed.
    pub levels: i64,
    /// Whether the rest of a page of version 2 is not packed either.
    pub is_plain: bool,
}

impl PageHeader {
    /// Reads a header and leaves `reader` behind its last byte.
    ///
    /// # Errors
    /// The reader ends within the header, or that is no struct.
    pub(super) fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut header = Self::default();
        fields(reader, TOP, 0, &mut |of, number, value| match (of, number) {
            (TOP, 2) => header.unpacked = value,
            (TOP, 3) => header.packed = value,
            (VERSION_2, 5 | 6) => header.levels = header.levels.saturating_add(value),
            (VERSION_2, 7) => header.is_plain = value == 0,
            _ => {}
        })?;
        Ok(header)
    }
}

/// Reads the fields of a struct, and calls `whole` with the struct, and the number and value of those fields that are whole numbers,
/// true (1) or false (0).
fn fields(reader: &mut impl Read, of: i64, depth: u32, whole: &mut dyn FnMut(i64, i64, i64)) -> io::Result<()> {
    if depth > MOST_DEPTH {
        return Err(damaged());
    }
    let mut number = 0i64;
    loop {
        let head = byte(reader)?;
        if head == 0 {
            return Ok(());
        }
        let next = match head >> 4 {
            0 => zigzag(reader)?,
            step => number.saturating_add(step.into()),
        };
        // Each field once: of two, nobody knows which another reader takes.
        if next <= number {
            return Err(damaged());
        }
        number = next;
        match head & 15 {
            // The value of a field that is true or false is its kind.
            kind @ (1 | 2) => whole(of, number, (kind == 1).into()),
            4..=6 => whole(of, number, zigzag(reader)?),
            12 => fields(reader, if of == TOP { number } else { OTHER }, depth + 1, whole)?,
            kind => skip(reader, kind, depth)?,
        }
    }
}

/// Passes over a value that is not in a field of its own, or is no whole number.
fn skip(reader: &mut impl Read, kind: u8, depth: u32) -> io::Result<()> {
    match kind {
        // In a list, true and false have a byte each, as small numbers do.
        1..=3 => byte(reader).map(drop),
        4..=6 => zigzag(reader).map(drop),
        7 => pass_over(reader, 8),
        8 => {
            let length = varint(reader)?;
            pass_over(reader, length)
        }
        9 | 10 => {
            let head = byte(reader)?;
            let count = if head >> 4 == 15 { varint(reader)? } else { (head >> 4).into() };
            (0..count).try_for_each(|_| element(reader, head & 15, depth))
        }
        11 => {
            let count = varint(reader)?;
            let kinds = if count > 0 { byte(reader)? } else { 0 };
            (0..count).try_for_each(|_| {
                element(reader, kinds >> 4, depth)?;
                element(reader, kinds & 15, depth)
            })
        }
        12 => fields(reader, OTHER, depth + 1, &mut |_, _, _| {}),
        _ => Err(damaged()),
    }
}

/// Passes over an element of a list or map, which may be a list itself.
fn element(reader: &mut impl Read, kind: u8, depth: u32) -> io::Result<()> {
    if depth >= MOST_DEPTH {
        return Err(damaged());
    }
    skip(reader, kind, depth + 1)
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// A number, seven bits a byte, the least significant first.
pub(super) fn varint(reader: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(reader)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(damaged())
}

/// A number whose sign is in its lowest bit.
pub(super) fn zigzag(reader: &mut impl Read) -> io::Result<i64> {
    let value = varint(reader)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn pass_over(reader: &mut impl Read, length: u64) -> io::Result<()> {
    match io::copy(&mut reader.take(length), &mut io::sink())? {
        passed if passed == length => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn damaged() -> Error {
    ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found_among_fields_of_every_kind() {
        let bytes = [
            0x15, 0, // 1: type
            0x15, 0x80, 0x80, 0x08, // 2: 65536
            0x15, 0xc8, 1,    // 3: 100
            0x2c, // 5: struct
            0x15, 4, 0x11, 0x12, 0x18, 2, b'a', b'b', 0x19, 0x25, 2, 4, 0x1b, 1, 0x85, 1, b'k', 6, 0x17, 0, 0, 0, 0, 0,
            0, 0, 0, 0x19, 0x21, 1, 2, // a list of two that are true or false
            0, // its end
            0, // the end
            9,
        ];
        let mut rest = &bytes[..];
        let expected = PageHeader { unpacked: 65536, packed: 100, ..PageHeader::default() };
        assert_eq!(PageHeader::read(&mut rest).unwrap(), expected);
        assert_eq!(rest, [9]);
        for cut in 0..bytes.len() - 2 {
            assert!(PageHeader::read(&mut &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_not_packed_of_a_page_of_version_2_is_told() {
        // 2: 8, 3: 6, 8: a struct of 5: 3, 6: 1 and, in the second, 7: false.
        let read =
            |end: &[u8]| PageHeader::read(&mut &[&[0x25, 16, 0x15, 12, 0x5c, 0x55, 6, 0x15, 2], end].concat()[..]);
        let expected = PageHeader { unpacked: 8, packed: 6, levels: 4, is_plain: false };
        assert_eq!(read(&[0, 0]).unwrap(), expected);
        assert_eq!(read(&[0x11, 0, 0]).unwrap(), expected);
        assert_eq!(read(&[0x12, 0, 0]).unwrap(), PageHeader { is_plain: true, ..expected });
    }

    #[test]
    fn endless_and_deep_headers_and_repeated_fields_are_refused() {
        for bytes in [
            &[0x25, 2, 0x05, 4, 4, 0][..],
            &[0x1c; 1000],
            &[0x19; 1000],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x15; 1],
            &[0xff; 40],
        ] {
            assert!(PageHeader::read(&mut &bytes[..]).is_err());
        }
    }
}
