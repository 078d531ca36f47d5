//! Making the parameters of a model while its layers are built, each drawn from the seed and its own name.

use crate::error::{ModelError, Result};
use crate::parameters::{Parameter, RunningStatistic};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Init;
use candle_nn::init::NormalOrUniform;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::f64::consts::TAU;

/// Collects the parameters and running statistics of a model while its layers are built.
#[derive(Debug)]
pub struct Builder {
    parameters: Vec<Parameter>,
    statistics: Vec<RunningStatistic>,
    dtype: DType,
    device: Device,
    seed: u64,
}

impl Builder {
    pub(crate) fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self { parameters: Vec::new(), statistics: Vec::new(), dtype, device: device.clone(), seed }
    }

    /// The type of every parameter: f32, or f64 in double precision.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters so far, in the order in which they were made.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The running statistics so far.
    pub fn running_statistics(&self) -> &[RunningStatistic] {
        &self.statistics
    }

    pub(crate) fn into_parts(self) -> (Vec<Parameter>, Vec<RunningStatistic>) {
        (self.parameters, self.statistics)
    }

    /// Makes a trained tensor. Its values depend on the seed and its name alone, not on what was made before.
    ///
    /// # Errors
    /// The name is taken, or a tensor operation fails.
    pub fn parameter(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> Result<Parameter> {
        let name = name.into();
        let var = self.var(&name, shape, init)?;
        let parameter = Parameter { name, index: self.parameters.len(), var };
        self.parameters.push(parameter.clone());
        Ok(parameter)
    }

    /// Makes a running statistic of `len` channels, each of which starts at `value`.
    ///
    /// # Errors
    /// The name is taken, or a tensor operation fails.
    pub fn running_statistic(&mut self, name: impl Into<String>, len: usize, value: f64) -> Result<RunningStatistic> {
        let name = name.into();
        let statistic = RunningStatistic { var: self.var(&name, &[len], Init::Const(value))?, name };
        self.statistics.push(statistic.clone());
        Ok(statistic)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|p| p.name == name) || self.statistics.iter().any(|s| s.name == name)
    }

    fn var(&self, name: &str, shape: &[usize], init: Init) -> Result<Var> {
        if self.has(name) {
            return Err(ModelError::StateDict(format!("{name} is made twice")));
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ fnv1a64(name));
        let values = draws(init, shape, || rng.random());
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(&self.device)?;
        Ok(Var::from_tensor(&tensor)?)
    }
}

/// The values of an initialization, drawn here rather than by Candle or `rand_distr`, whose generators and methods are
/// theirs to change: a seed must give the bit-identical network in every later release.
fn draws(init: Init, shape: &[usize], mut unit: impl FnMut() -> f64) -> Vec<f64> {
    let n = shape.iter().product();
    match init {
        Init::Const(value) => vec![value; n],
        Init::Uniform { lo, up } => {
            let (center, half) = ((lo + up) / 2.0, (up - lo) / 2.0);
            (0..n).map(|_| shifted((2.0 * unit() - 1.0) * half, center)).collect()
        }
        // Box-Muller; 1 - u keeps the logarithm's argument above zero.
        Init::Randn { mean, stdev } => {
            (0..n).map(|_| shifted(stdev * (-2.0 * (1.0 - unit()).ln()).sqrt() * (TAU * unit()).cos(), mean)).collect()
        }
        Init::Kaiming { dist, fan, non_linearity } => {
            let stdev = non_linearity.gain() / (fan.for_shape(&shape.into()) as f64).sqrt();
            let bound = 3f64.sqrt() * stdev;
            let init = match dist {
                NormalOrUniform::Normal => Init::Randn { mean: 0.0, stdev },
                NormalOrUniform::Uniform => Init::Uniform { lo: -bound, up: bound },
            };
            draws(init, shape, unit)
        }
    }
}

/// A sum that leaves the bits of -0 as they are where nothing is added.
fn shifted(value: f64, by: f64) -> f64 {
    if by == 0.0 { value } else { value + by }
}

/// The 64-bit FNV-1a hash.
fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
