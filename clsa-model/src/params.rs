//! Named parameters and buffers, their initialisation, and the gradients that belong to them.

use crate::error::Result;
use crate::storage;
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

/// A trained tensor: its name is torchvision's, its index its place among the encoder's parameters and gradients.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// torchvision's name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// Place in [`crate::Encoder::parameters`] and [`Gradients`].
    pub index: usize,
    /// The values.
    pub var: Var,
}

/// A tensor that is kept beside the parameters and not trained: a running statistic of batch norm.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// torchvision's name, such as `bn1.running_mean`.
    pub name: String,
    /// The values.
    pub var: Var,
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Init {
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in plus or minus this bound.
    Uniform(f64),
}

/// Collects the parameters of a model while its layers are built.
pub(crate) struct Builder {
    pub parameters: Vec<Parameter>,
    pub buffers: Vec<Buffer>,
    dtype: DType,
    device: Device,
    seed: u64,
}

impl Builder {
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self { parameters: Vec::new(), buffers: Vec::new(), dtype, device: device.clone(), seed }
    }

    pub fn parameter(&mut self, name: String, shape: &[usize], init: Init) -> Result<Parameter> {
        let var = self.var(&name, shape, init)?;
        let parameter = Parameter { name, index: self.parameters.len(), var };
        self.parameters.push(parameter.clone());
        Ok(parameter)
    }

    pub fn buffer(&mut self, name: String, len: usize, value: f64) -> Result<Buffer> {
        let buffer = Buffer { var: self.var(&name, &[len], Init::Constant(value))?, name };
        self.buffers.push(buffer.clone());
        Ok(buffer)
    }

    /// Draws depend on the seed and the name alone, not on the order in which layers are built.
    fn var(&self, name: &str, shape: &[usize], init: Init) -> Result<Var> {
        let n: usize = shape.iter().product();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ fnv1a64(name));
        let mut unit = || rng.random::<f64>();
        let values: Vec<f64> = match init {
            Init::Constant(value) => vec![value; n],
            Init::Uniform(bound) => (0..n).map(|_| (2.0 * unit() - 1.0) * bound).collect(),
            // Box-Muller; 1 - u keeps the logarithm's argument above zero.
            Init::Normal(std) => (0..n)
                .map(|_| std * (-2.0 * (1.0 - unit()).ln()).sqrt() * (std::f64::consts::TAU * unit()).cos())
                .collect(),
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)?;
        Ok(Var::from_tensor(&tensor)?)
    }
}

/// The 64-bit FNV-1a hash.
fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The gradients of an encoder's parameters, summed over passes. A parameter that no pass has reached has none.
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

    /// The gradient of parameter `index`, of the parameter's shape.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.slots.get(index).and_then(Slot::get)
    }

    /// All gradients, in the order of the parameters.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Tensor>> {
        self.slots.iter().map(Slot::get)
    }

    /// Replaces the gradient of parameter `index`, as an average over ranks does.
    pub fn set(&mut self, index: usize, gradient: Tensor) {
        self.slots[index] = Slot { tensor: Some(gradient), stale: false };
    }

    /// Forgets every gradient and keeps the memory, for the next step.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.stale = true;
        }
    }

    /// Adds `gradient` to that of parameter `index`.
    pub(crate) fn add(&mut self, index: usize, gradient: &Tensor) -> Result<()> {
        let sum = match self.get(index) {
            Some(present) => (present + gradient)?,
            None => gradient.detach(),
        };
        self.set(index, sum);
        Ok(())
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
}

/// Elements that one thread fills at a time.
const CHUNK: usize = 1 << 16;
