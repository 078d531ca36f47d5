//! The momentum pair: a query encoder that is trained and a key encoder that follows it (He et al. 2019, eq. 2).

use crate::backbone::Architecture;
use crate::compute::Compute;
use crate::encoder::Encoder;
use crate::error::{ModelError, Result};
use crate::update::moving_averages;
use candle_core::Device;

/// Query encoder θ and key encoder ξ of the same architecture.
///
/// # Examples
///
/// ```
/// use clsa_model::candle_core::{DType, Device, Tensor};
/// use clsa_model::{Arch, Compute, Mode, ModelConfig, MomentumPair, Stem};
///
/// let config = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width: 0.25, ..ModelConfig::default() };
/// let pair = MomentumPair::new(&config, Compute::default(), 0.999, 0, &Device::Cpu)?;
/// let images = Tensor::zeros((8, 3, 32, 32), DType::F32, &Device::Cpu)?;
///
/// let queries = pair.query.forward(&images)?; // `backward` takes the gradient of a loss
/// pair.update_key()?;
/// let keys = pair.key.embed(&images, Mode::Train)?;
/// assert_eq!(queries.embedding().dims(), keys.dims());
/// # Ok::<(), clsa_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct MomentumPair {
    /// The query encoder, trained by gradient.
    pub query: Encoder,
    /// The key encoder, which starts as a copy and never sees a gradient.
    pub key: Encoder,
    momentum: f64,
}

impl MomentumPair {
    /// Builds both encoders; the key encoder is a copy of the query encoder. `momentum` is m in `ξ ← m·ξ + (1-m)·θ`
    /// (paper: 0.999).
    ///
    /// # Errors
    /// A configuration value is out of range, the momentum not within 0..=1.
    pub fn new<A>(architecture: &A, compute: Compute, momentum: f64, seed: u64, device: &Device) -> Result<Self>
    where
        A: Architecture + Clone + 'static,
    {
        check(momentum)?;
        let query = Encoder::new(architecture, compute, seed, device)?;
        let key = query.twin()?;
        Ok(Self { query, key, momentum })
    }

    /// Sets m, for schedules that change it.
    ///
    /// # Errors
    /// It is not within 0..=1.
    pub fn set_momentum(&mut self, momentum: f64) -> Result<()> {
        check(momentum)?;
        self.momentum = momentum;
        Ok(())
    }

    /// `ξ ← m·ξ + (1-m)·θ`, in place; parameters only, each encoder keeps its own running statistics.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn update_key(&self) -> Result<()> {
        let pairs = self.key.parameters().iter().zip(self.query.parameters());
        let pairs: Vec<_> = pairs.map(|(key, query)| (&key.var, &query.var)).collect();
        moving_averages(&pairs, self.momentum)
    }
}

fn check(momentum: f64) -> Result<()> {
    if (0.0..=1.0).contains(&momentum) {
        return Ok(());
    }
    Err(ModelError::config("momentum", momentum, "use a number from 0 to 1"))
}
