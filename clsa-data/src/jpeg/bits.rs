//! The bits of a scan's data, without stuffed bytes and markers.

use super::cursor::Cursor;
use super::refusal::Refusal;

/// Zeros behind the data, so that a word can be read wherever a bit is left.
const PADDING: usize = 2 * size_of::<u64>();

/// The bits from one marker of a scan to the next. Beyond their end, all bits are 0, as they are for libjpeg.
#[derive(Default)]
pub(super) struct Bits {
    /// The data, and zeros enough for a word to be read at their end.
    bytes: Vec<u8>,
    /// Bits of data.
    available: usize,
    position: Position,
}

/// How far the bits are read. While a block is read this is a copy, which stays in registers.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    /// Index of the next byte to be taken.
    next: usize,
    /// Bits taken from the bytes, the next one highest.
    word: u64,
    /// How many of them there are, by the lower six bits.
    count: u32,
}

impl Bits {
    /// Begins with the data at a place of the file. The place becomes the one behind the marker that ends the data, and
    /// its code is returned; `None` says that the file ends first.
    pub(super) fn begin(&mut self, file: &mut Cursor) -> Result<Option<u8>, Refusal> {
        self.clear();
        let mut rest = file.rest();
        let all = rest.len();
        self.bytes.reserve(all + PADDING);
        let mut marker = None;
        while let Some(at) = memchr::memchr(0xff, rest) {
            let fill = rest[at..].iter().take_while(|&&byte| byte == 0xff).count();
            self.bytes.extend_from_slice(&rest[..at]);
            let code = rest.get(at + fill).copied();
            rest = rest.get(at + fill + 1..).unwrap_or_default();
            match code {
                Some(0) if fill == 1 => self.bytes.push(0xff),
                // Before a marker, there may be more of them. Here, what libjpeg-turbo gives depends on how it is fed.
                Some(0) => return Err(Refusal::faulty("corrupt data: 0xff twice within them")),
                code => {
                    marker = code;
                    break;
                }
            }
        }
        if marker.is_none() {
            self.bytes.extend_from_slice(rest);
            rest = &[];
        }
        file.skip(all - rest.len());
        self.available = 8 * self.bytes.len();
        self.bytes.resize(self.bytes.len() + PADDING, 0);
        Ok(marker)
    }

    /// Bytes of data, from the beginning on.
    pub(super) fn data_bytes(&self) -> usize {
        self.available / 8
    }

    /// Leaves no data.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.available, self.position) = (0, Position::default());
    }

    /// The bytes, for [`Position::refill`].
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline(always)]
    pub(super) fn position(&self) -> Position {
        self.position
    }

    #[inline(always)]
    pub(super) fn set_position(&mut self, position: Position) {
        self.position = position;
    }

    /// Whether more bits were skipped than there are.
    #[inline(always)]
    pub(super) fn overdrawn(&self) -> bool {
        self.overdrawn_at(self.position)
    }

    /// Whether more bits are before a position than there are.
    #[inline(always)]
    pub(super) fn overdrawn_at(&self, position: Position) -> bool {
        8 * position.next > self.available + (position.count & 63) as usize
    }
}

impl Position {
    /// Makes at least 56 bits ready.
    #[inline(always)]
    pub(super) fn refill(&mut self, bytes: &[u8]) {
        if let Some(&bytes) = bytes.get(self.next..).and_then(<[u8]>::first_chunk) {
            self.word |= u64::from_be_bytes(bytes) >> (self.count & 63);
        }
        self.next += (!self.count >> 3 & 7) as usize;
        self.count |= 56;
    }

    /// The next bits, all that are ready, from the highest on.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.word
    }

    /// Goes on by as many bits as the lower six bits of a number say. At least as many are ready.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.word <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }
}
