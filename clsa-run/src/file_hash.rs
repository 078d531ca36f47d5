//! What a file is told by.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// SHA-256 of a file's content, in lower case.
///
/// # Errors
/// It cannot be read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    rest_sha256(File::open(path)?)
}

/// SHA-256 of what is left to be read, in lower case.
///
/// # Errors
/// It cannot be read.
pub fn rest_sha256(reader: impl Read) -> io::Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, reader);
    let mut hash = Sha256::new();
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            return Ok(base16ct::lower::encode_string(&hash.finalize()));
        }
        hash.update(block);
        let read = block.len();
        reader.consume(read);
    }
}
