//! The pages of a column. What they state is checked before the parquet reader believes it, which asks for that much memory.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ColumnChunkMetaData;

use super::delta::Lengths;
use super::page_header::PageHeader;
use super::shared_file::SharedFile;

/// Bytes that the pages of a column may have when they are unpacked: this, and [`MOST_UNPACKED_RATIO`] times their bytes in the
/// file. Image files hardly get smaller when they are packed again.
const MOST_UNPACKED: u64 = 64 << 20;
const MOST_UNPACKED_RATIO: u64 = 32;

/// Checks that the pages of a column lie in the file, and unpack to what they state and not to far more than they take there.
/// Returns the bytes that they take in memory.
///
/// # Errors
/// The reason for which a page is refused.
pub(super) fn check(file: &SharedFile, column: &ColumnChunkMetaData) -> Result<u64, String> {
    let (mut at, length) = column.byte_range();
    let end = at.checked_add(length).filter(|&end| end <= file.object.len());
    let end = end.ok_or("a column ends behind the end of the file")?;
    let failed = |error: io::Error| format!("a page cannot be read: {error}");
    let mut reader = BufReader::new(file.object.reader().map_err(failed)?);
    let (mut all_packed, mut all_unpacked, mut taken) = (0u64, 0u64, 0u64);
    while at < end {
        reader.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut rest = (&mut reader).take(end - at);
        let header =
            PageHeader::read(&mut rest).map_err(|error| format!("the header of a page is damaged: {error}"))?;
        let size = |stated| u64::try_from(stated).map_err(|_| "a page states a negative size".to_owned());
        let (unpacked, packed, levels) = (size(header.unpacked)?, size(header.packed)?, size(header.levels)?);
        if packed > rest.limit() {
            return Err("a page ends behind its column".into());
        }
        all_packed += packed;
        all_unpacked = all_unpacked.saturating_add(unpacked);
        // A page without a codec is kept as it stands in the file, whatever it states.
        taken = taken.saturating_add(unpacked.max(packed));
        if all_unpacked > MOST_UNPACKED.saturating_add(all_packed.saturating_mul(MOST_UNPACKED_RATIO)) {
            let reason = format!("pages state that their {all_packed} bytes unpack to {all_unpacked}");
            return Err(format!("{reason}, far more than those of images do"));
        }
        at = end - rest.limit() + packed;
        if header.is_plain || levels > packed {
            continue;
        }
        // Two of the codecs are unpacked to their end, whatever their page states.
        let most = unpacked.saturating_sub(levels);
        reader.seek_relative(i64::try_from(levels).unwrap_or(i64::MAX)).map_err(failed)?;
        let page = (&mut reader).take(packed - levels);
        let really = match column.compression() {
            Compression::GZIP(_) => count(MultiGzDecoder::new(page), most),
            Compression::BROTLI(_) => count(brotli::Decompressor::new(page, 4096), most),
            _ => Ok(0),
        };
        if really.is_ok_and(|really| really > most) {
            return Err(format!("a page unpacks to more than the {unpacked} bytes that it states"));
        }
    }
    Ok(taken)
}

/// The bytes that a reader gives, counted to one more than `most`.
fn count(reader: impl Read, most: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(most.saturating_add(1)), &mut io::sink())
}

/// Pages whose numbers of values are those that their bytes and their row group can hold.
pub(super) struct CheckedPages {
    pages: Box<dyn PageReader>,
    /// How many sorts of levels, of repetition and definition, are before the values.
    levels: usize,
    /// Most values of a page: the rows of the row group, or the entries of its lists.
    most: u64,
    /// Bytes that values had in common with those before them, and bytes of the pages with these.
    common: (u64, u64),
}

impl CheckedPages {
    pub(super) fn new(pages: Box<dyn PageReader>, levels: usize, most: u64) -> Self {
        Self { pages, levels, most, common: (0, 0) }
    }

    /// Checks what the decoders take memory for as it is stated; an error is a reason.
    fn check(&mut self, page: &Page) -> Result<(), &'static str> {
        let (buf, encoding, values, start) = match page {
            Page::DictionaryPage { buf, num_values, .. } if *num_values as usize > buf.len() => {
                return Err("a dictionary states more values than it has bytes");
            }
            Page::DictionaryPage { .. } => return Ok(()),
            Page::DataPage { buf, num_values, encoding, .. } => {
                let mut start = 0;
                for _ in 0..self.levels {
                    let length = buf.get(start..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_le_bytes);
                    start += 4 + length as usize;
                }
                (buf, encoding, *num_values, start)
            }
            Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                (buf, encoding, *num_values, *def_levels_byte_len as usize + *rep_levels_byte_len as usize)
            }
        };
        let values = u64::from(values);
        if values > self.most {
            return Err("a page states more values than its row group has");
        }
        let bytes = buf.get(start..).unwrap_or_default();
        match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => check_lengths(bytes, values).map(drop),
            Encoding::DELTA_BYTE_ARRAY => {
                // Lengths of what each value has in common with the one before, which is written out again for it.
                let common = check_lengths(bytes, values)?;
                check_lengths(&bytes[common.end..], values)?;
                self.common.0 = self.common.0.saturating_add(common.sum);
                self.common.1 += bytes.len() as u64;
                if self.common.0 > MOST_UNPACKED + MOST_UNPACKED_RATIO * self.common.1 {
                    Err("the values of pages have far more in common than images do")
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }
}

fn check_lengths(bytes: &[u8], values: u64) -> Result<Lengths, &'static str> {
    Lengths::read(bytes, values).ok_or("the lengths in a page are damaged, or more than it states")
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
        let checked = page.as_ref().map_or(Ok(()), |page| self.check(page));
        checked.map(|()| page).map_err(|reason| ParquetError::General(reason.to_owned()))
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
