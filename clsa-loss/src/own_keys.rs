//! Each row's own key as one more candidate of a softmax over others.

use candle_core::{DType, Tensor};

use crate::LossError;
use crate::exact::{HighLow, Products};
use crate::statistics::Statistics;

/// The key of each row's sample, and its score.
pub(crate) struct OwnKeys {
    /// (R, D).
    keys: Tensor,
    /// Row · key: (R).
    scores: Products,
    /// One over the temperature of each row: (R).
    inverse_temperatures: Tensor,
}

impl OwnKeys {
    /// For rows (R, D) in blocks of N, the samples of the positives (N, D), which are of the engine's precision.
    pub fn new(
        rows: &Tensor,
        positives: &Tensor,
        inverse_temperatures: &[f64],
        precision: DType,
    ) -> Result<Self, LossError> {
        let (count, batch) = (rows.dims()[0], positives.dims()[0]);
        let keys = positives.repeat((count / batch.max(1), 1))?;
        let scores = HighLow::new(&rows.to_dtype(precision)?)?.row_products(&HighLow::new(&keys)?)?;
        let inverse_temperatures = Tensor::new(inverse_temperatures, &candle_core::Device::Cpu)?;
        let inverse_temperatures = inverse_temperatures.to_dtype(precision)?.to_device(rows.device())?;
        Ok(Self { keys, scores, inverse_temperatures })
    }

    /// The softmax over the own key and the candidates of `statistics`, of which there is at least one.
    pub fn added_to(self, statistics: Statistics) -> Result<Statistics, LossError> {
        let Statistics { shift, log_sum, mean, above_positive } = statistics;
        let Self { keys, scores, inverse_temperatures } = self;
        let new_shift = shift.maximum(&scores.sum()?)?;
        // Logarithms of both parts of the sum, relative to the new shift; then the sum relative to the larger one.
        let others = ((shift - &new_shift)?.mul(&inverse_temperatures)? + log_sum)?;
        let own = scores.subtract_from(&new_shift)?.neg()?.mul(&inverse_temperatures)?;
        let larger = others.maximum(&own)?;
        let sum = ((&others - &larger)?.exp()? + (&own - &larger)?.exp()?)?;
        let log_sum = (larger + sum.log()?)?;
        let weight = |part: Tensor| (part - &log_sum)?.exp()?.unsqueeze(1);
        let mean = (mean.broadcast_mul(&weight(others)?)? + keys.broadcast_mul(&weight(own)?)?)?;
        Ok(Statistics { shift: new_shift, log_sum, mean, above_positive })
    }
}
