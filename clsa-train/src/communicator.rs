//! How ranks exchange tensors. The training step is written against [`Communicator`]; one process is [`SingleProcess`].

use candle_core::{Result, Tensor};
use std::time::Duration;

/// A group of ranks that train together, each on its part of the global batch. Every rank makes the same calls in the same
/// order.
pub trait Communicator: Send + Sync {
    /// This rank, 0-based.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn world_size(&self) -> usize;

    /// The tensors (N, ...) of all ranks, rank 0's first, as (world_size * N, ...). Without gradient.
    ///
    /// # Errors
    /// A peer disconnected, or its tensor has another shape.
    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor>;

    /// This rank's part of the global batch in another order: `rows` (N, ...) are its rows of the batch as it is, and row i of the
    /// result is row `order[rank * N + i]` of all ranks' rows. `order`, a permutation of `0..world_size * N`, is the same on all ranks.
    /// Rows are numbers, or bytes where a device takes images as such.
    ///
    /// # Errors
    /// A peer disconnected, or its tensor has another shape.
    fn permute(&self, rows: &Tensor, order: &[u32]) -> Result<Tensor> {
        let n = rows.dim(0)?;
        let mine = &order[self.rank() * n..][..n];
        self.all_gather(rows)?.index_select(&Tensor::from_slice(mine, n, rows.device())?, 0)
    }

    /// Begins to compute the mean over the ranks of a tensor of one dimension. Several may be under way; they end in the order in which
    /// they were begun.
    ///
    /// # Errors
    /// A peer disconnected.
    fn begin_mean(&self, values: Tensor) -> Result<PendingMean>;

    /// How long this rank has waited in these calls so far; what a GPU waits by itself is not counted.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether this rank does what only one of them does: it writes the run's files, shows progress and evaluates.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }
}

/// A mean over ranks that is under way.
#[must_use = "the other ranks wait for a mean that was begun"]
pub struct PendingMean(Box<dyn FnOnce() -> Result<Tensor> + Send>);

impl PendingMean {
    /// One that `wait` waits for.
    pub fn new(wait: impl FnOnce() -> Result<Tensor> + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// The mean, when it is there.
    ///
    /// # Errors
    /// A peer disconnected, or its tensor has another shape.
    pub fn wait(self) -> Result<Tensor> {
        (self.0)()
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

    fn begin_mean(&self, values: Tensor) -> Result<PendingMean> {
        Ok(PendingMean::new(move || Ok(values)))
    }
}
