//! Safetensors: read whole, tensors copied out one at a time.

use super::bytes_of;
use super::refusal::{Refusal, refuse};
use candle_core::{DType, Device, Tensor};
use safetensors::{SafeTensors, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};

/// What checkpoints of this project call themselves.
const CHECKPOINT: &str = "clsa-checkpoint-";

/// The version of them that is read here.
const CHECKPOINT_VERSION: &str = "1";

/// A file that was read and whose header is sound.
pub(super) struct SafetensorsFile {
    bytes: Vec<u8>,
}

impl SafetensorsFile {
    pub fn read(file: File) -> Result<Self, Refusal> {
        let mut bytes = Vec::new();
        BufReader::new(file).read_to_end(&mut bytes)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let format = header.metadata().as_ref().and_then(|m| m.get("format"));
        if let Some(version) = format.and_then(|f| f.strip_prefix(CHECKPOINT))
            && version != CHECKPOINT_VERSION
        {
            return refuse(format!("is a checkpoint of version {version}, which this release does not know"));
        }
        if header.tensors().is_empty() {
            return refuse("holds no tensors");
        }
        Ok(Self { bytes })
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.tensors().map(|t| t.names().into_iter().map(str::to_owned).collect()).unwrap_or_default();
        names.sort();
        names
    }

    pub fn load(&self, name: &str) -> Result<Tensor, Refusal> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name)?;
        let dtype = DType::try_from(view.dtype())?;
        Ok(Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, Refusal> {
        Ok(SafeTensors::deserialize(&self.bytes)?)
    }
}

/// The bytes of a file that holds `tensors`.
pub(super) fn serialize(tensors: &[(&str, Tensor)]) -> Result<Vec<u8>, Refusal> {
    let values = tensors
        .iter()
        .map(|(name, tensor)| Ok((*name, Values { tensor, bytes: bytes_of(name, tensor)? })))
        .collect::<Result<Vec<_>, Refusal>>()?;
    // What the Hugging Face libraries look for to tell whose conventions the names follow.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(values, Some(metadata))?)
}

/// A tensor and its bytes.
struct Values<'a> {
    tensor: &'a Tensor,
    bytes: Vec<u8>,
}

impl View for Values<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        View::dtype(self.tensor)
    }

    fn shape(&self) -> &[usize] {
        self.tensor.dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
