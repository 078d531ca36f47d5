//! The forms that weight files have, told from their first bytes.

use super::error::{WeightFileError, fail};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// The form a weight file was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Safetensors: torchvision names, or a checkpoint of this project.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before 1.6: consecutive pickles.
    TorchLegacy,
    /// `torch.save` of PyTorch 0.1: a tar archive.
    TorchTar,
}

/// Bytes that the header of a safetensors file may have, by that format's own rule.
const MOST_HEADER: u64 = 100_000_000;

/// Tells the form from the first bytes.
pub(super) fn detect(file: &mut File) -> Result<Container, WeightFileError> {
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match &start[..] {
        [] => fail("is empty"),
        // Before pickles and archives, because the length of a header can begin as they do.
        start if is_safetensors(start) => Ok(Container::Safetensors),
        [b'P', b'K', 3, 4, ..] => Ok(Container::TorchZip),
        // The pickled magic number of torch.save.
        [0x80, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..]
        | [0x80, 4 | 5, 0x95, _, _, _, _, _, _, _, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..] => {
            Ok(Container::TorchLegacy)
        }
        [0x80, 0..=5, ..] => fail("is a Python pickle, but not of torch.save: save the state_dict() with torch.save"),
        start if start.get(257..262) == Some(b"ustar") => Ok(Container::TorchTar),
        _ => fail("is neither a PyTorch file nor safetensors"),
    }
}

/// Whether these are the first bytes of a safetensors file: the header's length, and the header, which is JSON.
fn is_safetensors(start: &[u8]) -> bool {
    let parts = start.split_first_chunk();
    parts.is_some_and(|(len, header)| u64::from_le_bytes(*len) <= MOST_HEADER && header.starts_with(b"{"))
}
