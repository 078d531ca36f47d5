//! What a training that can be interrupted keeps in a file: its tensors and the number of epochs done.

use crate::EvalError;
use crate::evaluation::write_whole;
use candle_core::{Device, Tensor, Var};
use std::path::Path;

/// Writes the state, which appears whole; its folder is made where there is none.
pub(crate) fn write_state(path: &Path, epochs: u64, variables: &[(String, Var)]) -> Result<(), EvalError> {
    let epochs = Tensor::new(&[epochs as i64], &Device::Cpu)?;
    let tensors = variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor())).chain([("epochs", &epochs)]);
    let bytes = safetensors::serialize(tensors, None)
        .map_err(|e| EvalError::Run { path: path.to_owned(), reason: format!("cannot be written ({e})") })?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| EvalError::Io { path: folder.to_owned(), source })?;
    }
    write_whole(path, &bytes)
}

/// Sets the variables from a state and gives the epochs done.
///
/// # Errors
/// The file is damaged or not of these variables; none is then changed.
pub(crate) fn read_state(path: &Path, variables: &[(String, Var)]) -> Result<u64, EvalError> {
    let damaged = |what: &str| EvalError::Run {
        path: path.to_owned(),
        reason: format!("this state of an interrupted protocol {what}; remove it to begin anew"),
    };
    let bytes = std::fs::read(path).map_err(|source| EvalError::Io { path: path.to_owned(), source })?;
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|_| damaged("is damaged"))?;
    let mut take = |name: &str, dims: &[usize]| match tensors.remove(name) {
        Some(tensor) if tensor.dims() == dims => Ok(tensor),
        _ => Err(damaged(&format!("has no {name} of shape {dims:?}"))),
    };
    let epochs = take("epochs", &[1])?.to_vec1::<i64>()?[0];
    let epochs = u64::try_from(epochs).map_err(|_| damaged("has a negative epoch"))?;
    let values: Vec<Tensor> = variables.iter().map(|(name, var)| take(name, var.dims())).collect::<Result<_, _>>()?;
    for ((_, var), value) in variables.iter().zip(values) {
        var.set(&value.to_dtype(var.dtype())?.to_device(var.device())?)?;
    }
    Ok(epochs)
}
