//! What ranks say to each other. The training step is written against [`Communicator`]; one process is [`SingleProcess`].

use candle_core::{Result, Tensor};
use clsa_model::Gradients;

/// A group of ranks that train together, each on its part of the global batch.
pub trait Communicator: Send {
    /// This rank, 0-based.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// The tensors (N, ...) of all ranks, rank 0's first, as (world_size * N, ...). Without gradient.
    ///
    /// # Errors
    /// Another rank is gone, or the shapes differ.
    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor>;

    /// Replaces every gradient by its mean over the ranks.
    ///
    /// # Errors
    /// Another rank is gone, or the shapes differ.
    fn average(&self, gradients: &mut Gradients) -> Result<()>;
}

/// One rank alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleProcess;

impl Communicator for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.detach())
    }

    fn average(&self, _: &mut Gradients) -> Result<()> {
        Ok(())
    }
}
