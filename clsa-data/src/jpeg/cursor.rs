//! A place in a file: its bytes one after the other, and its markers.

use super::refusal::Refusal;

/// A place in a file.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes from here to the end of the file.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Bytes of the file before here.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on by so many bytes, which may be beyond the end.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, Refusal> {
        let byte = self.bytes.get(self.at).copied().ok_or(Refusal::CutShort)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next two bytes, the higher one first.
    pub(super) fn word(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// The next segment's length without the two bytes that state it. A file may state less than these two.
    pub(super) fn length(&mut self) -> Result<i32, Refusal> {
        Ok(i32::from(self.word()?) - 2)
    }

    /// The code of the next marker. Whatever is before it is skipped; a marker may have several 0xff before its code.
    pub(super) fn marker(&mut self) -> Result<u8, Refusal> {
        loop {
            let before = memchr::memchr(0xff, self.rest()).ok_or(Refusal::CutShort)?;
            self.skip(before + 1);
            // 0xff with a 0 behind it is data.
            match self.code()? {
                0 => {}
                code => return Ok(code),
            }
        }
    }

    /// The first byte that is not 0xff.
    pub(super) fn code(&mut self) -> Result<u8, Refusal> {
        loop {
            match self.byte()? {
                0xff => {}
                code => return Ok(code),
            }
        }
    }

    /// Looks for the restart marker with this number, `0..8`, from a marker on that was read already. If another one comes, this does
    /// what libjpeg's `jpeg_resync_to_restart` does: data go on here, or those up to the next restart are missing, before a marker whose
    /// code is returned.
    #[cold]
    pub(super) fn restart(&mut self, number: u8, mut marker: u8) -> Result<Option<u8>, Refusal> {
        let is = |marker: u8, ahead: u8| marker == 0xd0 + (number + ahead) % 8;
        while !is(marker, 0) {
            match marker {
                // No marker of an image: what follows is skipped.
                0x00..=0xbf => {}
                // One of the restarts before: so is this.
                marker if is(marker, 6) || is(marker, 7) => {}
                // One of the next two restarts, or the end of the scan: the data are missing.
                marker if is(marker, 1) || is(marker, 2) || !(0xd0..=0xd7).contains(&marker) => {
                    return Ok(Some(marker));
                }
                // Any other restart: it is taken for this one.
                _ => break,
            }
            marker = self.marker()?;
        }
        Ok(None)
    }
}
