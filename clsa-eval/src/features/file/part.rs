//! A file of features on its way: `NAME.part`, which grows row by row and which the next process goes on with.

use super::header::{header_bytes, is_header_of};
use crate::EvalError;
use crate::features::rows::FeatureShape;
use base16ct::lower::encode_string as hex;
use clsa_files::is_at;
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A hash in the header until it is known.
const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;

/// Bytes of a page, in which a system brings files to the disk.
const PAGE: usize = 4096;

/// The part, which this alone writes.
pub(super) struct Part<'a> {
    file: File,
    part: PathBuf,
    of: &'a str,
    shape: FeatureShape,
    hash: Sha256,
    /// Values that it holds.
    values: usize,
}

impl<'a> Part<'a> {
    /// Begins the file that is to be at `path`, or goes on with what an interrupted process has left of it. Waits for another
    /// process that writes it, and calls `waiting` then; where that one has finished it meanwhile, there is none to make.
    pub fn open(path: &Path, of: &'a str, shape: FeatureShape, waiting: &dyn Fn()) -> io::Result<Option<Self>> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&part)?;
        // Where files cannot be locked, two processes at once spoil each other's part, which the hash at the end then shows.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            waiting();
            let _ = file.lock();
        }
        if path.exists() {
            // What was just made here beside it would stay; what became it has its name no more.
            if is_at(&file, &part) {
                match std::fs::remove_file(&part) {
                    // Where these cannot be told apart, it may have become the file.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
            return Ok(None);
        }
        let header = header_bytes(of, shape, UNKNOWN);
        let mut part = Self { file, part, of, shape, hash: Sha256::new(), values: 0 };
        let mut found = Vec::new();
        (&part.file).take(header.len() as u64).read_to_end(&mut found)?;
        // One that was stopped while the file got its name has the hash already.
        if is_header_of(&found, of, shape) {
            part.values = part.hash_blocks(header.len())? * shape.dim;
        } else {
            part.file.seek(SeekFrom::Start(0))?;
            part.file.write_all(&header)?;
        }
        let end = (header.len() + part.values * size_of::<f32>()) as u64;
        part.file.set_len(end)?;
        part.file.seek(SeekFrom::Start(end))?;
        Ok(Some(part))
    }

    /// Rows that it holds.
    pub fn rows(&self) -> usize {
        self.values / self.shape.dim.max(1)
    }

    /// Adds values.
    pub fn push(&mut self, values: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.hash.update(&bytes);
        self.values += values.len();
        self.file.write_all(&bytes)
    }

    /// Gives the file its name, and tells where its values begin.
    ///
    /// # Errors
    /// It does not have all values, or the disk is full.
    pub fn finish(mut self, path: &Path) -> Result<u64, EvalError> {
        let FeatureShape { rows, dim, .. } = self.shape;
        if self.values != rows * dim {
            return Err(EvalError::Size { what: "the features", got: self.values, expected: rows * dim });
        }
        let header = header_bytes(self.of, self.shape, &hex(&self.hash.finalize()));
        let named = (self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| clsa_files::rename_whole(&self.part, path));
        named.map_err(|source| EvalError::Io { path: path.to_owned(), source })?;
        Ok(header.len() as u64)
    }

    /// Hashes the whole blocks behind a header of so many bytes, up to the first page of zeros, which was not written before the machine
    /// stopped. Features of zeros alone are made again. Gives the number of rows.
    fn hash_blocks(&mut self, header: usize) -> io::Result<usize> {
        let FeatureShape { rows, dim, block } = self.shape;
        let row = dim * size_of::<f32>();
        (&self.file).seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(BUFFER, &self.file);
        let (mut page, mut found) = (Vec::with_capacity(PAGE), Vec::new());
        let (mut left_of_header, mut hashed) = (header, 0);
        loop {
            page.clear();
            reader.by_ref().take(PAGE as u64).read_to_end(&mut page)?;
            if page.iter().all(|byte| *byte == 0) {
                return Ok(hashed / row.max(1));
            }
            let of_header = left_of_header.min(page.len());
            left_of_header -= of_header;
            found.extend_from_slice(&page[of_header..]);
            loop {
                let next = (block * row).min(rows * row - hashed);
                if next == 0 || found.len() < next {
                    break;
                }
                self.hash.update(&found[..next]);
                found.drain(..next);
                hashed += next;
            }
        }
    }
}
