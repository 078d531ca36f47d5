//! The zip form of `torch.save` (PyTorch 1.6 and later): `NAME/data.pkl`, and each storage in `NAME/data/KEY`.
//!
//! Members may be stored, as PyTorch writes them, or deflated, as archives are that were packed anew. Deflated members may
//! unpack to 64 MiB and 32 times the file's length in all, far more than weights do; a member is unpacked one at a time.

use super::error::{WeightFileError, fail};
use super::unpickle::{Pickle, Storage};
use std::fs::File;
use std::io::{self, BufReader, Read};
use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::{CompressionMethod, ZipArchive};

/// Bytes that a file may unpack to: this, and [`MOST_UNPACKED_RATIO`] times its length.
const MOST_UNPACKED: u64 = 64 << 20;
const MOST_UNPACKED_RATIO: u64 = 32;

/// The archive, for its storages.
pub(super) struct Members {
    archive: ZipArchive<BufReader<File>>,
    folder: String,
}

/// Reads the pickle. Storages are checked against their checksums when they are read.
pub(super) fn read(reader: BufReader<File>) -> Result<(Pickle, Members), WeightFileError> {
    let len = reader.get_ref().metadata()?.len();
    // The directory is where the end records say. Without this the crate takes it to end at the end record, but PyTorch
    // always puts ZIP64 records between them.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let archive = ZipArchive::with_config(config, reader)?;
    let pickles: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter_map(|name| name.strip_suffix("/data.pkl").map(str::to_owned))
        .collect();
    let [folder] = &pickles[..] else {
        return fail("is a zip archive, but not of torch.save: it has no data.pkl, or several");
    };
    let mut members = Members { folder: folder.clone(), archive };
    if members.deflated()? > most_unpacked(len) {
        return fail("unpacks to far more bytes than weights do: save it again with torch.save");
    }
    let archive = &mut members.archive;
    if archive.by_name(&format!("{folder}/byteorder")).is_ok_and(|order| order.size() == 3) {
        return fail("was saved on a big-endian machine: save it again on a little-endian one");
    }
    let name = format!("{folder}/data.pkl");
    // Its checksum is compared at its end, before it is believed.
    read_member(archive.by_name(&name)?, &mut io::sink())?;
    let member = archive.by_name(&name)?;
    let size = member.size();
    let pickle = Pickle::read(&mut BufReader::new(member.take(size)))?;
    Ok((pickle, members))
}

fn most_unpacked(len: u64) -> u64 {
    MOST_UNPACKED.saturating_add(len.saturating_mul(MOST_UNPACKED_RATIO))
}

/// Reads a member to its end, where its checksum is compared. It may be shorter than the archive says, but is read no further.
fn read_member(member: ZipFile<'_, BufReader<File>>, bytes: &mut impl io::Write) -> Result<u64, WeightFileError> {
    let size = member.size();
    let read = io::copy(&mut member.take(size.saturating_add(1)), bytes)?;
    if read > size { fail("is damaged: a member is longer than the archive says") } else { Ok(read) }
}

impl Members {
    /// The values of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, WeightFileError> {
        let member = self.archive.by_name(&format!("{}/data/{}", self.folder, storage.key))?;
        storage.check_len(member.size())?;
        let mut bytes = Vec::new();
        read_member(member, &mut bytes)?;
        storage.check_len(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// The bytes that the deflated members have when they are unpacked.
    pub fn deflated(&mut self) -> Result<u64, WeightFileError> {
        let mut bytes = 0_u64;
        for index in 0..self.archive.len() {
            let member = self.archive.by_index_raw(index)?;
            if member.compression() != CompressionMethod::Stored {
                bytes = bytes.saturating_add(member.size());
            }
        }
        Ok(bytes)
    }
}
