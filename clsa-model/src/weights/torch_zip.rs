//! The zip form of `torch.save` (PyTorch 1.6 and later): `NAME/data.pkl`, and each storage in `NAME/data/KEY`.

use super::error::{WeightFileError, fail};
use super::unpickle::{Pickle, Storage};
use std::fs::File;
use std::io::{BufReader, Read};
use zip::ZipArchive;
use zip::read::ZipFile;

/// The archive, for its storages.
pub(super) struct Members {
    archive: ZipArchive<BufReader<File>>,
    folder: String,
}

/// Reads the pickle. Storages are checked against their checksums when they are read.
pub(super) fn read(reader: BufReader<File>) -> Result<(Pickle, Members), WeightFileError> {
    let mut archive = ZipArchive::new(reader)?;
    let pickles: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter_map(|name| name.strip_suffix("/data.pkl").map(str::to_owned))
        .collect();
    let [folder] = &pickles[..] else {
        return fail("is a zip archive, but not of torch.save: it has no data.pkl, or several");
    };
    if archive.by_name(&format!("{folder}/byteorder")).is_ok_and(|order| order.size() == 3) {
        return fail("was saved on a big-endian machine: save it again on a little-endian one");
    }
    let pickle = read_member(archive.by_name(&format!("{folder}/data.pkl"))?)?;
    Ok((Pickle::read(&mut &pickle[..])?, Members { folder: folder.clone(), archive }))
}

/// Reads a member to its end, where its checksum is compared. It may be shorter than the archive says, but is read no further.
fn read_member(member: ZipFile<'_, BufReader<File>>) -> Result<Vec<u8>, WeightFileError> {
    let size = member.size();
    let mut bytes = Vec::new();
    member.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > size { fail("is damaged: a member is longer than the archive says") } else { Ok(bytes) }
}

impl Members {
    /// The values of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, WeightFileError> {
        let member = self.archive.by_name(&format!("{}/data/{}", self.folder, storage.key))?;
        storage.check_len(member.size())?;
        let bytes = read_member(member)?;
        storage.check_len(bytes.len() as u64)?;
        Ok(bytes)
    }
}
