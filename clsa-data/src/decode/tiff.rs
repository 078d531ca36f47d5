//! TIFF files that the decoder would make other colors of than Pillow.

/// The tags that are asked for here.
mod tag {
    pub(super) const BITS_PER_SAMPLE: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    /// Those of the format itself, from the kind of image to the range of its colors.
    pub(super) const READ: std::ops::RangeInclusive<usize> = 254..=532;
    /// Those of them that say who or what made the image.
    pub(super) const TEXTS: [usize; 11] = [269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337];
}

/// The first numbers of the entries of a file's first directory.
struct Directory<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    entries: usize,
    count: usize,
}

impl<'a> Directory<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = bytes.starts_with(b"MM");
        let mut directory = Self { bytes, big_endian, entries: 0, count: 0 };
        let at = directory.number(4, 4)?;
        directory.count = directory.number(at, 2)?;
        directory.entries = at.checked_add(2)?;
        Some(directory)
    }

    /// The number in so many bytes at a place.
    fn number(&self, at: usize, length: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        let number = if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        usize::try_from(number).ok()
    }

    /// Where the entries are.
    fn places(&self) -> impl Iterator<Item = usize> {
        let all = (0..self.count).map(|index| self.entries.saturating_add(12 * index));
        all.take_while(|&at| at < self.bytes.len())
    }

    /// Whether an entry that the decoder reads states more numbers than the file has bytes for. Texts are not read.
    fn states_too_much(&self) -> bool {
        self.places().any(|at| {
            let is_read = |tag| tag::READ.contains(&tag) && !tag::TEXTS.contains(&tag);
            let read = self.number(at, 2).is_some_and(is_read);
            let width = self.width(at);
            let count = self.number(at + 4, 4).unwrap_or(0);
            read && count.saturating_mul(width) > self.bytes.len()
        })
    }

    /// Bytes of each number of the entry at a place; 0 for a type that is not known.
    fn width(&self, at: usize) -> usize {
        match self.number(at + 2, 2) {
            Some(1 | 2 | 6 | 7) => 1,
            Some(3 | 8) => 2,
            Some(4 | 9 | 11 | 13) => 4,
            Some(5 | 10 | 12 | 16..=18) => 8,
            _ => 0,
        }
    }

    /// The first of a tag's numbers; 0 without the tag.
    fn first(&self, tag: u16) -> usize {
        let entry = self.places().find(|&at| self.number(at, 2) == Some(tag.into()));
        let value = entry.and_then(|at| {
            let (count, width, place) = (self.number(at + 4, 4)?, self.width(at), at + 8);
            let place = if count.saturating_mul(width) > 4 { self.number(place, 4)? } else { place };
            self.number(place, width)
        });
        value.unwrap_or(0)
    }
}

/// Why a file is refused, if it is.
pub(super) fn refusal(bytes: &[u8]) -> Option<&'static str> {
    let directory = Directory::open(bytes)?;
    if directory.states_too_much() {
        return Some("it is a TIFF whose directory states more than the file holds");
    }
    let bits = directory.first(tag::BITS_PER_SAMPLE);
    let wide = bits > 8;
    match (directory.first(tag::COMPRESSION), directory.first(tag::PHOTOMETRIC)) {
        (6 | 7, _) => Some("it is a TIFF with JPEG inside"),
        (_, 5) => Some("it is a TIFF in CMYK"),
        _ if directory.first(tag::FILL_ORDER) == 2 => Some("it is a TIFF with the bits of its bytes in reverse order"),
        (_, 2) if bits > 16 => Some("it is a TIFF in colors of more than 16 bits"),
        (_, 0) if wide => Some("it is a TIFF of inverted gray of more than 8 bits"),
        _ if directory.first(tag::EXTRA_SAMPLES) == 1 => Some("it is a TIFF with premultiplied alpha"),
        _ if wide && directory.first(tag::PLANAR) == 2 => Some("it is a TIFF of separate planes of more than 8 bits"),
        _ => None,
    }
}

/// Whether a file of any name begins as a TIFF does.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*")
}

/// Whether a file begins as one with 64-bit offsets does.
pub(super) fn is_big(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+")
}
