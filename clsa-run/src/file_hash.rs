//! What a file is told by.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// SHA-256 of a file's content, in lower case.
///
/// # Errors
/// It cannot be read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hash = Sha256::new();
    loop {
        let block = file.fill_buf()?;
        if block.is_empty() {
            return Ok(base16ct::lower::encode_string(&hash.finalize()));
        }
        hash.update(block);
        let read = block.len();
        file.consume(read);
    }
}
