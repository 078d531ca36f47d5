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

/// Tells the form from the first bytes.
pub(super) fn detect(file: &mut File) -> Result<Container, WeightFileError> {
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match &start[..] {
        [] => fail("is empty"),
        [b'P', b'K', 3, 4, ..] => Ok(Container::TorchZip),
        // The pickled magic number of torch.save.
        [0x80, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..]
        | [0x80, 4 | 5, 0x95, _, _, _, _, _, _, _, _, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..] => {
            Ok(Container::TorchLegacy)
        }
        [0x80, 0..=5, ..] => fail("is a Python pickle, but not of torch.save: save the state_dict() with torch.save"),
        [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Container::Safetensors),
        start if start.get(257..262) == Some(b"ustar") => Ok(Container::TorchTar),
        _ => fail("is neither a PyTorch file nor safetensors"),
    }
}
