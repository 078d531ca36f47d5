//! The encoder's state dictionary: parameters, running statistics and batch counts by name.

use super::Encoder;
use crate::batch_count::BATCH_COUNT;
use crate::error::{ModelError, Result};
use crate::head;
use crate::parameters::difference;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

impl Encoder {
    /// Parameters, running statistics and batch counts by torchvision's names, as `state_dict()` gives them. As there, the
    /// tensors are the encoder's own memory, which training writes in place: to keep what they hold now, take a `copy()` of
    /// each, or a [`Self::twin`].
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn state_dict(&self) -> Result<HashMap<String, Tensor>> {
        let parameters = self.parameters().iter().map(|p| (p.name.clone(), p.var.as_detached_tensor()));
        let statistics = self.running_statistics().iter().map(|s| (s.name.clone(), s.var.as_detached_tensor()));
        let mut state: HashMap<_, _> = parameters.chain(statistics).collect();
        let batches = Tensor::new(self.batches.load(Ordering::Relaxed) as i64, &Device::Cpu)?;
        for name in self.batch_count_names() {
            state.insert(name, batches.clone());
        }
        Ok(state)
    }

    /// Sets all parameters and running statistics to those of `state`. Batch counts may be absent, and a file without a projection
    /// head (`fc.*`) is an error here: see [`Self::load_backbone`].
    ///
    /// # Errors
    /// Lists every tensor that is missing, unexpected or of another shape; then nothing is changed.
    pub fn load_state_dict(&self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.load(state, |_| true)
    }

    /// Sets the backbone's parameters and running statistics and leaves the projection head as it is. Tensors of any head
    /// (`fc.*`) in `state` are ignored.
    ///
    /// # Errors
    /// Lists every tensor of the backbone that is missing, unexpected or of another shape; then nothing is changed.
    pub fn load_backbone(&self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.load(state, |name| !head::owns(name))
    }

    /// Makes all parameters and running statistics equal to those of `other`, which has the same architecture.
    ///
    /// # Errors
    /// The architectures differ.
    pub fn copy_from(&self, other: &Self) -> Result<()> {
        self.load_state_dict(&other.state_dict()?)
    }

    fn load(&self, state: &HashMap<String, Tensor>, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let parameters = self.parameters().iter().map(|p| (&p.name, &p.var));
        let statistics = self.running_statistics().iter().map(|s| (&s.name, &s.var));
        let targets: Vec<_> = parameters.chain(statistics).filter(|(n, _)| wanted(n)).collect();
        let mut differences = Vec::new();
        for (name, var) in &targets {
            match state.get(*name) {
                Some(t) if t.dims() == var.dims() && !t.dtype().is_float() => {
                    differences.push(format!("{name} has the type {:?}, which is no floating-point one", t.dtype()));
                }
                found => differences.extend(difference(name, found, var.dims())),
            }
        }
        let counts: Vec<_> = self.batch_count_names().collect();
        for name in &counts {
            // PyTorch 0.3 had no scalars, but vectors of one; PyTorch takes a number of any type.
            match state.get(name) {
                Some(t) if !matches!(t.dims(), [] | [1]) => {
                    differences.push(format!("{name} has shape {:?} instead of one number", t.dims()));
                }
                _ => {}
            }
        }
        let known = |name: &String| targets.iter().any(|(n, _)| *n == name) || counts.contains(name);
        let mut unexpected: Vec<_> = state.keys().filter(|n| wanted(n) && !known(n)).collect();
        unexpected.sort();
        differences.extend(unexpected.iter().map(|name| format!("{name} is unexpected")));
        if !differences.is_empty() {
            return Err(ModelError::StateDict(differences.join("; ")));
        }
        for (name, var) in targets {
            var.set(&state[name].to_dtype(var.dtype())?.to_device(var.device())?.contiguous()?)?;
        }
        if let Some(batches) = counts.first().and_then(|name| state.get(name)) {
            let batches = batches.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
            self.batches.store(batches.first().copied().unwrap_or(0).max(0) as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn batch_count_names(&self) -> impl Iterator<Item = String> {
        self.running_statistics()
            .iter()
            .filter_map(|s| s.name.strip_suffix("running_mean"))
            .map(|stem| format!("{stem}{BATCH_COUNT}"))
    }
}
