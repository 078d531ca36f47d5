//! Trainings that can be interrupted: what such a training changes, kept in a file after each epoch.
//!
//! The file is a safetensors file of the training's variables by name, with three more tensors: `epochs`, the number of
//! epochs done; `seconds`, the time that they took, so that a resumed training can tell its whole wall time; and
//! `train_loss`, the loss of the last one, because a training that was complete has no epoch left to measure it in.

use crate::EvalError;
use candle_core::{Device, Tensor, Var};
use std::path::Path;
use std::time::Instant;

/// A training, and where it stands.
pub(crate) struct Resumable<'a> {
    /// Where the state is kept; nowhere for a training that begins anew each time.
    path: Option<&'a Path>,
    variables: Vec<(String, Var)>,
    start: Instant,
    seconds: Var,
    loss: Var,
    /// Epochs that were done before.
    pub first_epoch: u64,
    /// Seconds that these took.
    pub seconds_before_resume: f64,
    /// Loss of the last of them, if there was one.
    pub last_loss: Option<f64>,
}

impl<'a> Resumable<'a> {
    /// Begins a training of these variables, or sets them to the state in the file, where there is one. What killed processes have left
    /// half written beside it is removed.
    ///
    /// # Errors
    /// The file is damaged or not of these variables; none is then changed.
    pub fn begin(path: Option<&'a Path>, mut variables: Vec<(String, Var)>) -> Result<Self, EvalError> {
        if let Some(path) = path {
            // What killed processes have left half written. Where it cannot be removed, it does no harm.
            let _ = clsa_files::remove_abandoned(clsa_files::folder_of(path));
        }
        let start = Instant::now();
        let one = |value: f64| Var::from_slice(&[value], 1, &Device::Cpu);
        // A state holds numbers only: NaN stands for no loss.
        let (seconds, loss) = (one(0.0)?, one(f64::NAN)?);
        variables.push(("seconds".to_owned(), seconds.clone()));
        variables.push(("train_loss".to_owned(), loss.clone()));
        let first_epoch = match path.map(|path| read(path, &variables)) {
            Some(Err(EvalError::Io { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => 0,
            Some(epoch) => epoch?,
            None => 0,
        };
        let seconds_before_resume = seconds.to_vec1::<f64>()?[0];
        let last_loss = Some(loss.to_vec1::<f64>()?[0]).filter(|loss| !loss.is_nan());
        Ok(Self { path, variables, start, seconds, loss, first_epoch, seconds_before_resume, last_loss })
    }

    /// Keeps the state after an epoch, 0-based, of this mean loss.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn finish_epoch(&self, epoch: u64, loss: f64) -> Result<(), EvalError> {
        let Some(path) = self.path else { return Ok(()) };
        let set = |var: &Var, value: f64| var.set(&Tensor::new(&[value], &Device::Cpu)?);
        set(&self.seconds, self.seconds_before_resume + self.start.elapsed().as_secs_f64())?;
        set(&self.loss, loss)?;
        write(path, epoch + 1, &self.variables)
    }
}

/// Writes the state, which appears whole; its folder is made where there is none.
fn write(path: &Path, epochs: u64, variables: &[(String, Var)]) -> Result<(), EvalError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| EvalError::Io { path, source }
    };
    let epochs = Tensor::new(&[epochs as i64], &Device::Cpu)?;
    let tensors = variables.iter().map(|(name, var)| (name.as_str(), var.as_tensor())).chain([("epochs", &epochs)]);
    let bytes = safetensors::serialize(tensors, None)
        .map_err(|e| EvalError::File { path: path.to_owned(), reason: format!("cannot be written ({e})") })?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    clsa_files::write_whole(path, &bytes).map_err(io(path))
}

/// Sets the variables from a state and gives the epochs done.
fn read(path: &Path, variables: &[(String, Var)]) -> Result<u64, EvalError> {
    let damaged = |what: &str| EvalError::File {
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
    // All are looked at before the first is set, so that a state that does not fit changes nothing.
    let values: Vec<Tensor> = variables.iter().map(|(name, var)| take(name, var.dims())).collect::<Result<_, _>>()?;
    for ((_, var), value) in variables.iter().zip(values) {
        var.set(&value.to_dtype(var.dtype())?.to_device(var.device())?)?;
    }
    Ok(epochs)
}
