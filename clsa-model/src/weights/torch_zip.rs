//! The zip form of `torch.save` (PyTorch 1.6 and later): `NAME/data.pkl`, and each storage in `NAME/data/KEY`.

use super::refusal::{Refusal, refuse};
use super::torch_file::check_len;
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
pub(super) fn read(reader: BufReader<File>) -> Result<(Pickle, Members), Refusal> {
    let mut archive = ZipArchive::new(reader)?;
    let pickles: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter_map(|name| name.strip_suffix("/data.pkl").map(str::to_owned))
        .collect();
    let [folder] = &pickles[..] else {
        return refuse("is a zip archive, but not of torch.save: it has no data.pkl, or several");
    };
    if archive.by_name(&format!("{folder}/byteorder")).is_ok_and(|order| order.size() == 3) {
        return refuse("was saved on a big-endian machine: save it again on a little-endian one");
    }
    let pickle = read_member(archive.by_name(&format!("{folder}/data.pkl"))?)?;
    Ok((Pickle::read(&mut &pickle[..])?, Members { folder: folder.clone(), archive }))
}

/// Reads a member to its end, where its checksum is compared. It may be shorter than the archive says, but is read no further.
fn read_member(member: ZipFile<'_, BufReader<File>>) -> Result<Vec<u8>, Refusal> {
    let size = member.size();
    let mut bytes = Vec::new();
    member.take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > size { refuse("is damaged: a member is longer than the archive says") } else { Ok(bytes) }
}

impl Members {
    /// The values of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, Refusal> {
        let member = self.archive.by_name(&format!("{}/data/{}", self.folder, storage.key))?;
        check_len(storage, member.size())?;
        let bytes = read_member(member)?;
        check_len(storage, bytes.len() as u64)?;
        Ok(bytes)
    }
}
