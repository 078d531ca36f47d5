//! The gradients of an encoder's parameters.

#[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
use crate::error::ModelError;
use crate::error::Result;
use crate::parameters::Parameter;
use crate::storage;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

/// The gradients of an encoder's parameters, summed over passes. A parameter that no pass has reached has none.
///
/// # Examples
///
/// ```
/// use clsa_model::candle_core::{DType, Device, Tensor};
/// use clsa_model::{Arch, Compute, Encoder, Gradients, ModelConfig, Stem};
///
/// let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
/// let encoder = Encoder::new(&config, Compute::default(), 0, &Device::Cpu)?;
/// let mut gradients = Gradients::new(encoder.parameters().len());
/// for view in [32, 16] {
///     let pass = encoder.forward(&Tensor::zeros((4, 3, view, view), DType::F32, &Device::Cpu)?)?;
///     let upstream = pass.embedding().ones_like()?;
///     pass.backward(&upstream, &mut gradients)?;
/// }
/// let first = &encoder.parameters()[0];
/// assert_eq!(gradients.get(first.index).unwrap().dims(), first.var.dims());
/// gradients.clear(); // for the next step
/// # assert!(gradients.get(first.index).is_none());
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
#[derive(Debug, Default)]
pub struct Gradients {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    tensor: Option<Tensor>,
    /// Whether the tensor is left from before [`Gradients::clear`], memory to be used again.
    stale: bool,
}

impl Slot {
    fn get(&self) -> Option<&Tensor> {
        self.tensor.as_ref().filter(|_| !self.stale)
    }
}

impl Gradients {
    /// No gradients yet, for `parameters` parameters.
    pub fn new(parameters: usize) -> Self {
        Self { slots: vec![Slot::default(); parameters] }
    }

    /// The gradient of parameter `index`, of the parameter's shape. Kernels write to its memory in place, after
    /// [`Self::clear`] too: take a `copy()` to keep it.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.slots.get(index).and_then(Slot::get)
    }

    /// All gradients, in the order of the parameters, each as [`Self::get`] gives it.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Tensor>> {
        self.slots.iter().map(Slot::get)
    }

    /// Replaces the gradient of parameter `index`, as an average over ranks does. Kernels write to the tensor's memory from then on.
    ///
    /// # Panics
    /// There is no such parameter.
    pub fn set(&mut self, index: usize, gradient: Tensor) {
        self.slots[index] = Slot { tensor: Some(gradient), stale: false };
    }

    /// Forgets every gradient and keeps the memory, for the next step.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.stale = true;
        }
    }

    /// Adds `gradient` to that of parameter `index`, and gives the sum.
    pub(crate) fn add(&mut self, index: usize, gradient: &Tensor) -> Result<&Tensor> {
        let sum = match self.get(index) {
            Some(present) => (present + gradient)?,
            None => gradient.detach(),
        };
        self.slots[index].stale = false;
        Ok(self.slots[index].tensor.insert(sum))
    }

    /// Calls `f` with the f32 gradient of `parameter` on the CPU, zero where there was none, for a kernel to add to.
    pub(crate) fn accumulate_f32<R>(&mut self, parameter: &Parameter, f: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        let slot = &mut self.slots[parameter.index];
        let gradient = match &mut slot.tensor {
            Some(present) => present,
            none => none.insert(Tensor::zeros(parameter.var.shape(), DType::F32, &Device::Cpu)?),
        };
        let stale = std::mem::take(&mut slot.stale);
        Ok(storage::write_f32(gradient, |values| {
            if stale {
                values.par_chunks_mut(CHUNK).for_each(|values| values.fill(0.0));
            }
            f(values)
        })?)
    }

    /// Calls `f` with the f32 gradients of parameters on their device, for kernels to write to; and with whether none of them
    /// holds anything yet, so that they are to be overwritten instead of added to.
    #[cfg(any(feature = "cuda", all(test, feature = "host-kernels")))]
    pub(crate) fn accumulate_on_device<const N: usize, R>(
        &mut self,
        parameters: [&Parameter; N],
        f: impl FnOnce([&Tensor; N], bool) -> Result<R>,
    ) -> Result<R> {
        let fresh = parameters.map(|parameter| self.get(parameter.index).is_none());
        let overwrite = fresh.iter().all(|&fresh| fresh);
        for (parameter, fresh) in parameters.iter().zip(fresh) {
            let slot = &mut self.slots[parameter.index];
            if slot.tensor.is_none() || (fresh && !overwrite) {
                slot.tensor = Some(Tensor::zeros(parameter.var.shape(), DType::F32, parameter.var.device())?);
            }
            slot.stale = false;
        }
        let missing = || ModelError::StateDict("a parameter has no gradient".to_owned());
        let tensors: Vec<&Tensor> = parameters.iter().filter_map(|parameter| self.get(parameter.index)).collect();
        f(tensors.try_into().map_err(|_| missing())?, overwrite)
    }
}

/// Elements that one thread fills at a time.
const CHUNK: usize = 1 << 16;
