//! A parquet file as the parquet reader takes it.

use std::io::{BufReader, Read, Seek, SeekFrom};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::object::{Object, Reader};

/// A file that several threads read at once: it is opened anew for each read, because the handles that `File` gives
/// for one share its position.
#[derive(Clone)]
pub(super) struct SharedFile {
    pub object: Object,
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.object.len()
    }
}

impl ChunkReader for SharedFile {
    type T = BufReader<Reader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let mut reader = self.object.reader()?;
        reader.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // The memory for them is taken before the file is read.
        if start.checked_add(length as u64).is_none_or(|end| end > self.object.len()) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not in the file")));
        }
        let mut reader = self.object.reader()?;
        reader.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}
