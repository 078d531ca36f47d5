//! An index from the headers of a shard, and from the labels in it.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use super::format::ShardIndex;
use super::labels::{parse_cls, parse_json};
use crate::error::{DataError, Fault};
use crate::listing::is_image;

const BLOCK: u64 = 512;
/// Most bytes of a file with labels.
const MAX_LABEL: u64 = 1 << 20;

/// Files of one sample, as they are met in a shard.
#[derive(Default)]
struct Pending {
    key: String,
    image: Option<(String, u64, u64)>,
    class: Option<Vec<i32>>,
}

impl Pending {
    fn finish(self, index: &mut ShardIndex) -> Result<(), String> {
        match self.image {
            // Files without an image are no sample.
            None => Ok(()),
            Some((name, offset, size)) => index.push(&name, offset, size, &self.class.unwrap_or_default()),
        }
    }
}

/// Reads all headers of a shard, and its labels, in sequence.
pub(super) fn scan(shard: &Path, classes: &[String]) -> Result<ShardIndex, DataError> {
    let file = File::open(shard).map_err(DataError::read(shard))?;
    let size = file.metadata().map_err(DataError::read(shard))?.len();
    scan_reader(BufReader::new(file), size, classes).map_err(|reason| Fault::Damaged.at(shard, reason))
}

/// Makes the index of a shard of `size` bytes from its headers. `classes` are the names that `.cls` files may hold.
///
/// # Errors
/// The reason for which the shard is refused.
pub fn scan_reader<R: Read + Seek>(reader: R, size: u64, classes: &[String]) -> Result<ShardIndex, String> {
    let broken = |error: std::io::Error| format!("is not a whole tar archive: {error}");
    let mut archive = tar::Archive::new(reader);
    let mut index = ShardIndex { size, ..ShardIndex::default() };
    let mut pending = Pending::default();
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        end = offset.saturating_add(bytes.div_ceil(BLOCK).saturating_mul(BLOCK));
        if end > size {
            return Err(format!("is cut short: {path} should end at byte {end}, the file ends at {size}"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        // The key ends at the first dot of the file name.
        let name_start = path.rfind('/').map_or(0, |at| at + 1);
        let Some(dot) = path[name_start..].find('.').filter(|&dot| dot > 0) else { continue };
        let (key, extension) = (&path[..name_start + dot], path[name_start + dot + 1..].to_ascii_lowercase());
        if key != pending.key {
            std::mem::take(&mut pending).finish(&mut index)?;
            pending.key = key.into();
        }
        if extension == "cls" || extension == "json" {
            let mut text = String::new();
            let read = (&mut entry).take(MAX_LABEL).read_to_string(&mut text);
            read.map_err(|error| format!("{path} cannot be read: {error}"))?;
            let labels =
                if extension == "cls" { parse_cls(&text, classes).map(Some) } else { parse_json(&text, classes) };
            if let Some(labels) = labels.map_err(|reason| format!("{path} {reason}"))? {
                pending.class = Some(labels);
            }
        } else if !extension.contains('.') && is_image(&path[name_start..]) && pending.image.is_none() {
            pending.image = Some((path.clone(), offset, bytes));
        }
    }
    pending.finish(&mut index)?;
    if size < end.saturating_add(BLOCK) {
        return Err("is cut short: the blocks that end a tar archive are missing".into());
    }
    if index.len() == 0 {
        return Err("has no sample with an image".into());
    }
    Ok(index)
}
