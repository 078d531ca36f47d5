//! A second rank in tests, which is no process.

use crate::communicator::{Communicator, PendingMean};
use candle_core::{DType, Device, Result, Tensor};

/// The first of two ranks, of which the second has what the first has; of what they tell each other in bytes, after this change.
pub(crate) struct BesideSecond<F>(pub F);

impl<F: Fn(Vec<u8>) -> Vec<u8> + Send + Sync> Communicator for BesideSecond<F> {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        2
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        if tensor.dtype() != DType::U8 {
            return Tensor::cat(&[tensor, tensor], 0);
        }
        let own = tensor.to_vec1::<u8>()?;
        let all = [own.clone(), (self.0)(own)].concat();
        let len = all.len();
        Tensor::from_vec(all, len, &Device::Cpu)
    }

    fn begin_mean(&self, values: Tensor) -> Result<PendingMean> {
        Ok(PendingMean::new(move || Ok(values)))
    }
}
