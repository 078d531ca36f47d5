//! The pages of a column. What they state is checked before the parquet reader believes it, which asks for that much memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ColumnChunkMetaData;

use super::columns::SharedFile;
use super::page_header::PageHeader;

/// Bytes that the pages of a column may have when they are unpacked: this, and [`MOST_UNPACKED_RATIO`] times their bytes in the
/// file. Image files hardly get smaller when they are packed again.
const MOST_UNPACKED: u64 = 64 << 20;
const MOST_UNPACKED_RATIO: u64 = 32;

/// Checks that the pages of a column lie in the file, and unpack to what they state and not to far more than they take there.
///
/// # Errors
/// The reason for which a page is refused.
pub(super) fn check(file: &SharedFile, column: &ColumnChunkMetaData) -> Result<(), String> {
    let (mut at, length) = column.byte_range();
    let end = at.checked_add(length).filter(|&end| end <= file.len);
    let end = end.ok_or("a column ends behind the end of the file")?;
    let failed = |error: io::Error| format!("a page cannot be read: {error}");
    let mut reader = BufReader::new(File::open(&file.path).map_err(failed)?);
    let (mut all_packed, mut all_unpacked) = (0u64, 0u64);
    while at < end {
        reader.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut rest = (&mut reader).take(end - at);
        let PageHeader { unpacked, packed } =
            PageHeader::read(&mut rest).map_err(|error| format!("the header of a page is damaged: {error}"))?;
        let (Ok(unpacked), Ok(packed)) = (u64::try_from(unpacked), u64::try_from(packed)) else {
            return Err("a page states a negative size".into());
        };
        if packed > rest.limit() {
            return Err("a page ends behind its column".into());
        }
        all_packed += packed;
        all_unpacked = all_unpacked.saturating_add(unpacked);
        if all_unpacked > MOST_UNPACKED.saturating_add(all_packed.saturating_mul(MOST_UNPACKED_RATIO)) {
            let reason = format!("pages state that their {all_packed} bytes unpack to {all_unpacked}");
            return Err(format!("{reason}, far more than those of images do"));
        }
        at = end - rest.limit() + packed;
        // These two are unpacked to their end, whatever their page states.
        let page = rest.take(packed);
        let really = match column.compression() {
            Compression::GZIP(_) => io::copy(&mut MultiGzDecoder::new(page).take(unpacked + 1), &mut io::sink()),
            Compression::BROTLI(_) => {
                io::copy(&mut brotli::Decompressor::new(page, 4096).take(unpacked + 1), &mut io::sink())
            }
            _ => Ok(unpacked),
        };
        if really.is_ok_and(|really| really > unpacked) {
            return Err(format!("a page unpacks to more than the {unpacked} bytes that it states"));
        }
    }
    Ok(())
}

/// Pages whose numbers of values are those that their bytes can hold.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// Whether the values have definition levels before them.
    has_levels: bool,
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, has_levels: bool) -> Self {
        Self { pages, has_levels }
    }

    fn check(&self, page: &Page) -> ParquetResult<()> {
        let refuse = |reason: &str| Err(ParquetError::General(reason.to_owned()));
        let (buf, encoding, values, start) = match page {
            Page::DictionaryPage { buf, num_values, .. } if *num_values as usize > buf.len() => {
                return refuse("a dictionary states more values than it has bytes");
            }
            Page::DictionaryPage { .. } => return Ok(()),
            Page::DataPage { buf, num_values, encoding, .. } => {
                let length = buf.first_chunk().filter(|_| self.has_levels).map(|length| u32::from_le_bytes(*length));
                (buf, encoding, *num_values, length.map_or(0, |length| 4 + length as usize))
            }
            Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                (buf, encoding, *num_values, *def_levels_byte_len as usize + *rep_levels_byte_len as usize)
            }
        };
        match encoding {
            Encoding::DELTA_BYTE_ARRAY => {
                refuse("it is encoded as DELTA_BYTE_ARRAY, which is not read; write the file with the encoding PLAIN")
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY
                if buf.get(start..).and_then(delta_count).is_none_or(|count| count > values.into()) =>
            {
                refuse("a page holds more lengths than it states")
            }
            _ => Ok(()),
        }
    }
}

/// The number of values that DELTA_BINARY_PACKED states: its third number.
fn delta_count(bytes: &[u8]) -> Option<u64> {
    let mut bytes = bytes.iter();
    let mut number = || {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    };
    number().and_then(|_| number()).and_then(|_| number())
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.as_ref().map_or(Ok(()), |page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}
