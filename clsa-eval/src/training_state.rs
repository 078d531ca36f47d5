//! What a training that can be interrupted keeps in a file: its tensors and the number of epochs done.

use crate::EvalError;
use crate::evaluation::write_whole;
use candle_core::{Device, Tensor, Var};
use std::path::Path;
use std::time::Instant;

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

/// What a state tells of the epochs that led to it: their time, and the loss of the last one.
pub(crate) struct Clock {
    start: Instant,
    seconds: Var,
    loss: Var,
}

impl Clock {
    /// Starts now.
    pub fn new() -> candle_core::Result<Self> {
        let one = |value: f64| Var::from_slice(&[value], 1, &Device::Cpu);
        Ok(Self { start: Instant::now(), seconds: one(0.0)?, loss: one(f64::NAN)? })
    }

    /// To be kept in the state.
    pub fn variables(&self) -> [(String, Var); 2] {
        [("seconds".to_owned(), self.seconds.clone()), ("train_loss".to_owned(), self.loss.clone())]
    }

    /// Seconds of the epochs before, once the state has been read.
    pub fn seconds(&self) -> candle_core::Result<f64> {
        Ok(self.seconds.to_vec1::<f64>()?[0])
    }

    /// The loss of the last epoch before, if there was one.
    pub fn loss(&self) -> candle_core::Result<Option<f64>> {
        Ok(Some(self.loss.to_vec1::<f64>()?[0]).filter(|loss| !loss.is_nan()))
    }

    /// Before the state is written: what was taken over, and the time since the start.
    pub fn set(&self, earlier_s: f64, loss: Option<f64>) -> candle_core::Result<()> {
        let set = |var: &Var, value: f64| var.set(&Tensor::new(&[value], &Device::Cpu)?);
        set(&self.seconds, earlier_s + self.start.elapsed().as_secs_f64())?;
        set(&self.loss, loss.unwrap_or(f64::NAN))
    }
}
