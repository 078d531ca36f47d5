//! How ranks exchange tensors. The training step is written against [`Communicator`]; one process is [`SingleProcess`].

use candle_core::{Device, Result, Tensor};
use clsa_model::Gradients;

/// A group of ranks that train together, each on its part of the global batch. Every rank makes the same calls in the same
/// order.
pub trait Communicator: Send {
    /// This rank, 0-based.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// The tensors (N, ...) of all ranks, rank 0's first, as (world_size * N, ...). Without gradient.
    ///
    /// # Errors
    /// A peer disconnected, or its tensor has another shape.
    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor>;

    /// Replaces every gradient by its mean over the ranks.
    ///
    /// # Errors
    /// A peer disconnected, or its gradients have other shapes.
    fn average(&self, gradients: &mut Gradients) -> Result<()>;

    /// Whether this rank does what only one of them does: it writes the run's files, shows progress and evaluates.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The first rank on which something failed, where `failed` says whether it did on this one. So no rank stops alone
    /// and leaves the others waiting.
    ///
    /// # Errors
    /// A peer disconnected.
    fn first_failed(&self, failed: bool) -> Result<Option<usize>> {
        let flags = self.all_gather(&Tensor::new(&[u8::from(failed)], &Device::Cpu)?)?.to_vec1::<u8>()?;
        Ok(flags.iter().position(|&flag| flag != 0))
    }
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

    fn first_failed(&self, failed: bool) -> Result<Option<usize>> {
        Ok(failed.then_some(0))
    }
}
