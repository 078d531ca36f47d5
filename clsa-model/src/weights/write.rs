//! Writing weights in a format of choice.

use super::error::{WeightFileError, fail};
use super::format::Format;
use super::{detectron2, safetensors_file, torch_write};
use crate::error::ModelError;
use candle_core::{Device, Tensor};
use clsa_files::WholeFile;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// Writes tensors with torchvision's names. [`Format::Safetensors`] and [`Format::Pth`] hold all of them in their types;
/// [`Format::Detectron2`] the backbone without head and batch counts, in f32. The same tensors give the same bytes. The
/// file appears whole, by rename, and takes the place of one that is there.
///
/// # Errors
/// The file's name does not end as the format's do, a tensor has a type that the format lacks, or writing fails.
///
/// # Examples
///
/// ```
/// use clsa_model::candle_core::{DType, Device, Tensor};
/// use clsa_model::weights::{self, Format};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("head.safetensors");
/// let weight = Tensor::zeros((10, 512), DType::F32, &Device::Cpu)?;
/// weights::write(&path, &[("fc.weight".to_owned(), weight)].into(), Format::Safetensors)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: &Path, tensors: &HashMap<String, Tensor>, format: Format) -> Result<(), ModelError> {
    write_file(path, tensors, format).map_err(|error| error.about(path))
}

fn write_file(path: &Path, tensors: &HashMap<String, Tensor>, format: Format) -> Result<(), WeightFileError> {
    if path.extension().is_none_or(|e| e != format.extension()) {
        return fail(format!("is to be a {} file: let its name end in .{}", format.name(), format.extension()));
    }
    let mut tensors: Vec<(&str, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<_, WeightFileError>>()?;
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let mut file = WholeFile::create(path).map_err(WeightFileError::Write)?;
    match format {
        Format::Safetensors => {
            file.write_all(&safetensors_file::serialize(&tensors)?).map_err(WeightFileError::Write)?;
        }
        Format::Pth => torch_write::write(&mut file, &tensors)?,
        Format::Detectron2 => detectron2::write(&mut file, &tensors)?,
    }
    file.commit().map_err(WeightFileError::Write)
}
