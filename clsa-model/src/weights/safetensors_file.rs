//! Safetensors: read whole, tensors copied out one at a time.

use super::checkpoint;
use super::error::{WeightFileError, fail};
use super::tensor_bytes::{can_be_laid_out, check_type};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};

/// A file that was read and whose header is sound.
pub(super) struct SafetensorsFile {
    bytes: Vec<u8>,
    /// Where the values begin.
    values: usize,
    /// What each tensor is, and where among the values.
    tensors: HashMap<String, TensorInfo>,
}

impl SafetensorsFile {
    pub fn read(file: File) -> Result<Self, WeightFileError> {
        let mut bytes = Vec::new();
        BufReader::new(file).read_to_end(&mut bytes)?;
        // Checks that the values fill the file; what it gives refers to `bytes`.
        SafeTensors::deserialize(&bytes)?;
        let (header_len, header) = SafeTensors::read_metadata(&bytes)?;
        let format = header.metadata().as_ref().and_then(|m| m.get("format"));
        if let Some(format) = format
            && let Some(version) = format.strip_prefix(checkpoint::FORMAT_FAMILY)
            && format != checkpoint::FORMAT
        {
            return fail(format!("is a checkpoint of version {version}, which this release does not know"));
        }
        let tensors: HashMap<_, _> = header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        if tensors.is_empty() {
            return fail("holds no tensors");
        }
        Ok(Self { bytes, values: size_of::<u64>() + header_len, tensors })
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    pub fn load(&self, name: &str) -> Result<Tensor, WeightFileError> {
        let info = self.tensors.get(name).ok_or_else(|| WeightFileError::new(format!("has no tensor {name}")))?;
        let (start, end) = info.data_offsets;
        let values = self
            .bytes
            .get(self.values + start..self.values + end)
            .ok_or_else(|| WeightFileError::new("is truncated"))?;
        if !can_be_laid_out(&info.shape) {
            return fail(format!("is damaged: its tensor {name} has the shape {:?}", info.shape));
        }
        Ok(Tensor::from_raw_buffer(values, DType::try_from(info.dtype)?, &info.shape, &Device::Cpu)?)
    }
}

/// The bytes of a file that holds `tensors`.
pub(super) fn serialize(tensors: &[(&str, Tensor)]) -> Result<Vec<u8>, WeightFileError> {
    // Candle panics at a type that it cannot write.
    tensors.iter().try_for_each(|(name, tensor)| check_type(name, tensor))?;
    // What the Hugging Face libraries look for to tell whose conventions the names follow.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(tensors.iter().map(|(name, tensor)| (*name, tensor)), Some(metadata))?)
}
