//! What ties an index to its shard: a digest of the headers and labels of each sample.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::format::ShardIndex;
use super::scan::{BLOCK, MAX_READ};
use crate::object::{Object, Reader};

/// Bytes that are read at once: the headers and the label of a sample.
const AT_ONCE: usize = 2048;

/// Fills in the digests of all samples.
pub(super) fn seal(shard: &Object, index: &mut ShardIndex) -> io::Result<()> {
    let mut reader = shard.reader()?;
    for sample in 0..index.len() {
        index.digests[sample] = digest(&mut reader, index, sample)?;
    }
    Ok(())
}

/// Whether a sample in the shard has the headers and labels that the index was made from.
pub(super) fn is_sealed(shard: &mut Reader, index: &ShardIndex, sample: usize) -> io::Result<bool> {
    match digest(shard, index, sample) {
        Ok(digest) => Ok(digest == index.digests[sample]),
        // What stands there is no header.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// CRC-32 of the headers of a sample's files, of long names, and of its labels.
fn digest(shard: &mut Reader, index: &ShardIndex, sample: usize) -> io::Result<u32> {
    let (mut at, image) = (index.starts[sample], index.offsets[sample]);
    let mut reader = BufReader::with_capacity(AT_ONCE, shard);
    reader.seek(SeekFrom::Start(at))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut follows_extension = false;
    for _ in 0..index.headers[sample] {
        let mut header = tar::Header::new_old();
        reader.read_exact(header.as_mut_bytes())?;
        hasher.update(header.as_bytes());
        let (size, kind) = (header.entry_size()?, header.entry_type());
        let is_extension = kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
        let name = header.path_bytes().to_ascii_lowercase();
        let has_label = follows_extension || name.ends_with(b".cls") || name.ends_with(b".json");
        at += BLOCK;
        let hashed = if at != image && size <= MAX_READ && (is_extension || has_label) { size } else { 0 };
        let mut content = Vec::new();
        (&mut reader).take(hashed).read_to_end(&mut content)?;
        hasher.update(&content);
        let padded = size.div_ceil(BLOCK).saturating_mul(BLOCK);
        let rest = i64::try_from(padded - content.len() as u64).map_err(io::Error::other)?;
        reader.seek_relative(rest)?;
        at = at.saturating_add(padded);
        follows_extension = is_extension;
    }
    Ok(hasher.finalize())
}
