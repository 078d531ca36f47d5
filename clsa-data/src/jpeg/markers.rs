//! The markers of a file, read as libjpeg's `jdmarker.c` reads them: up to the next scan, or to the end of the image.

use super::cursor::Cursor;
use super::frame::{Frame, Scan, read_scan};
use super::refusal::Refusal;
use super::tables::Tables;

/// The second bytes of markers.
mod code {
    pub(super) const TEM: u8 = 0x01;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const DAC: u8 = 0xcc;
    pub(super) const SOF0: u8 = 0xc0;
    pub(super) const SOF15: u8 = 0xcf;
    pub(super) const RST0: u8 = 0xd0;
    pub(super) const RST7: u8 = 0xd7;
    pub(super) const SOI: u8 = 0xd8;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DQT: u8 = 0xdb;
    pub(super) const DNL: u8 = 0xdc;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP14: u8 = 0xee;
    pub(super) const APP15: u8 = 0xef;
    pub(super) const COM: u8 = 0xfe;
}

/// Where reading stops.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Before the data of a scan.
    Scan(Scan),
    /// After the image.
    End,
}

/// The markers of a file, and what those that were read say.
#[derive(Clone, Debug)]
pub(super) struct Markers<'a> {
    file: Cursor<'a>,
    pub(super) tables: Tables,
    frame: Option<Frame>,
    /// Whether there was a JFIF marker.
    pub(super) jfif: bool,
    /// The color transform that an Adobe marker states.
    pub(super) adobe: Option<u8>,
}

impl<'a> Markers<'a> {
    /// The markers of a file that begins as a JPEG does.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut file = Cursor::new(bytes);
        begin(&mut file)?;
        Ok(Self { file, tables: Tables::default(), frame: None, jfif: false, adobe: None })
    }

    /// The frame and the first scan.
    pub(super) fn first_scan(&mut self) -> Result<(Frame, Scan), Refusal> {
        loop {
            match (self.next_stop(None)?, self.frame.clone()) {
                (Stop::Scan(scan), Some(frame)) => return Ok((frame, scan)),
                (Stop::End, None) => {
                    // Tables alone, and the image that is coded by them after them.
                    begin(&mut self.file)?;
                    self.tables.begin_image();
                    (self.jfif, self.adobe) = (false, None);
                }
                (Stop::Scan(_), None) | (Stop::End, Some(_)) => return Err(Refusal::faulty("it has no scan")),
            }
        }
    }

    /// What follows the markers that were read: the data of a scan.
    pub(super) fn data(&self) -> Cursor<'a> {
        self.file.clone()
    }

    /// Goes on behind the data of a scan, at whose end a marker of code `found` was read already.
    pub(super) fn after_data(&mut self, data: Cursor<'a>, found: Option<u8>) -> Result<Stop, Refusal> {
        self.file = data;
        self.next_stop(found)
    }

    /// Reads on. The first marker may have been read.
    fn next_stop(&mut self, mut found: Option<u8>) -> Result<Stop, Refusal> {
        loop {
            let marker = found.take().map_or_else(|| self.file.marker(), Ok)?;
            match marker {
                code::SOI => return Err(Refusal::faulty("an image begins within the image")),
                code::EOI => return Ok(Stop::End),
                code::SOS => {
                    let frame = self.frame.as_ref().ok_or_else(|| Refusal::faulty("a scan comes before the frame"))?;
                    return read_scan(frame, &mut self.file).map(Stop::Scan);
                }
                code::DHT => self.tables.read_huffman_tables(&mut self.file)?,
                code::DAC => self.tables.read_conditioning(&mut self.file)?,
                code::DQT => self.tables.read_quantizers(&mut self.file)?,
                code::DRI => self.tables.read_restart_interval(&mut self.file)?,
                code::SOF0..=code::SOF15 if self.frame.is_some() => {
                    return Err(Refusal::faulty("it has more than one frame"));
                }
                code::SOF0..=code::SOF15 => self.frame = Some(Frame::read(marker, &mut self.file)?),
                code::APP0 | code::APP14 => self.read_application(marker)?,
                code::APP0..=code::APP15 | code::COM | code::DNL => {
                    let length = self.file.length()?;
                    self.file.skip(length.max(0) as usize);
                }
                code::RST0..=code::RST7 | code::TEM => {}
                marker => return Err(Refusal::faulty(format!("it has an unknown marker, 0x{marker:02x}"))),
            }
        }
    }

    /// Reads the segment of an APP0 or APP14 marker, which says what the colors are.
    fn read_application(&mut self, marker: u8) -> Result<(), Refusal> {
        let length = self.file.length()?.max(0) as usize;
        let mut content = [0; 14];
        let content = &mut content[..length.min(14)];
        for byte in &mut *content {
            *byte = self.file.byte()?;
        }
        self.file.skip(length - content.len());
        match marker {
            code::APP0 if content.len() == 14 && content.starts_with(b"JFIF\0") => self.jfif = true,
            code::APP14 if content.len() >= 12 && content.starts_with(b"Adobe") => self.adobe = Some(content[11]),
            _ => {}
        }
        Ok(())
    }
}

/// Reads the marker that every image begins with.
fn begin(file: &mut Cursor) -> Result<(), Refusal> {
    match [file.byte()?, file.byte()?] {
        [0xff, code::SOI] => Ok(()),
        _ => Err(Refusal::faulty("it does not begin as a JPEG does")),
    }
}
