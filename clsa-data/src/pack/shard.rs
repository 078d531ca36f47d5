//! A shard while it is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::dataset::Encoded;
use crate::decode::extension_of;
use crate::error::DataError;
use crate::label::{Label, Presence};
use crate::listing::is_image;
use crate::shard_index::write_scanned;

/// A shard that is being written.
pub(super) struct Shard {
    path: PathBuf,
    archive: tar::Builder<BufWriter<File>>,
    /// Bytes of the images so far.
    pub bytes: u64,
}

impl Shard {
    pub(super) fn create(path: PathBuf) -> Result<Self, DataError> {
        let file = File::create(&path).map_err(DataError::write(&path))?;
        Ok(Self { path, archive: tar::Builder::new(BufWriter::new(file)), bytes: 0 })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DataError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.archive.append_data(&mut header, name, bytes).map_err(DataError::write(&self.path))
    }

    /// Adds a sample, its label before its image.
    pub(super) fn add(&mut self, key: &str, file: &Encoded, label: &Label) -> Result<(), DataError> {
        match label {
            Label::None => {}
            Label::Class(class) => self.append(&format!("{key}.cls"), class.to_string().as_bytes())?,
            Label::Multi(presence) => {
                let number = |presence: &Presence| match presence {
                    Presence::Absent => "-1",
                    Presence::Difficult => "0",
                    Presence::Present => "1",
                };
                let labels: Vec<&str> = presence.iter().map(number).collect();
                self.append(&format!("{key}.json"), format!("{{\"labels\":[{}]}}", labels.join(",")).as_bytes())?;
            }
        }
        self.bytes += file.bytes.len() as u64;
        self.append(&format!("{key}.{}", extension(file)), &file.bytes)
    }

    /// Ends the archive and writes its index; returns the path of the shard and its size in bytes.
    pub(super) fn finish(self) -> Result<(PathBuf, u64), DataError> {
        let Self { path, archive, .. } = self;
        let file = archive
            .into_inner()
            .and_then(|mut writer| writer.flush().map(|()| writer))
            .and_then(|writer| writer.into_inner().map_err(|error| error.into_error()))
            .and_then(|file| clsa_files::sync(&file).map(|()| file))
            .map_err(DataError::write(&path))?;
        let bytes = file.metadata().map_err(DataError::write(&path))?.len();
        write_scanned(&path, &[])?;
        Ok((path, bytes))
    }
}

/// The extension by which a sample is found in a shard again. A data set of another program may say anything: what is no
/// extension of an image must not become a path or another key, and the content tells instead.
fn extension(file: &Encoded) -> &str {
    let said = file.extension.as_str();
    if said.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_image(&format!("1.{said}")) {
        return said;
    }
    extension_of(&file.bytes)
}
