//! The momentum pair: a query encoder that is trained and a key encoder that follows it (He et al. 2019, eq. 2).

use crate::config::{Compute, ModelConfig};
use crate::encoder::Encoder;
use crate::error::{ModelError, Result};
use crate::update::moving_average;
use candle_core::Device;

/// Query encoder θ and key encoder ξ of the same shape.
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
    pub fn new(config: &ModelConfig, compute: Compute, momentum: f64, seed: u64, device: &Device) -> Result<Self> {
        if !(0.0..=1.0).contains(&momentum) {
            return Err(ModelError::Config {
                key: "method.momentum",
                value: momentum.to_string(),
                expected: "use a number from 0 to 1".to_owned(),
            });
        }
        let query = Encoder::new(config, compute, seed, device)?;
        let key = Encoder::new(config, compute, seed, device)?;
        Ok(Self { query, key, momentum })
    }

    /// `ξ ← m·ξ + (1-m)·θ`, in place; parameters only, each encoder keeps its own running statistics.
    ///
    /// # Errors
    /// A tensor operation fails.
    pub fn update_key(&self) -> Result<()> {
        // The thread pool is entered once, not for each parameter.
        rayon::scope(|_| {
            let mut pairs = self.key.parameters().iter().zip(self.query.parameters());
            pairs.try_for_each(|(key, query)| moving_average(&key.var, &query.var, self.momentum))
        })
    }
}
