//! Ranks as threads of one process, for tests.

use candle_core::Tensor;
use clsa_train::{Communicator, PendingMean};
use std::sync::{Arc, Barrier, Mutex};

/// Ranks as threads of one process, exchanging tensors through shared places.
#[derive(Clone)]
pub struct ThreadRank {
    rank: usize,
    places: Arc<Vec<Mutex<Option<Tensor>>>>,
    barrier: Arc<Barrier>,
}

impl ThreadRank {
    /// The ranks of a group.
    pub fn group(world: usize) -> Vec<Self> {
        let places = Arc::new((0..world).map(|_| Mutex::new(None)).collect::<Vec<_>>());
        let barrier = Arc::new(Barrier::new(world));
        (0..world).map(|rank| Self { rank, places: places.clone(), barrier: barrier.clone() }).collect()
    }

    fn exchange(&self, tensor: &Tensor) -> Vec<Tensor> {
        *self.places[self.rank].lock().unwrap() = Some(tensor.detach());
        self.barrier.wait();
        let all = self.places.iter().map(|place| place.lock().unwrap().clone().unwrap()).collect();
        self.barrier.wait();
        all
    }
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.places.len()
    }

    fn all_gather(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        Tensor::cat(&self.exchange(tensor), 0)
    }

    fn begin_mean(&self, values: Tensor) -> candle_core::Result<PendingMean> {
        let all = self.exchange(&values);
        let mut sum = all[0].clone();
        for other in &all[1..] {
            sum = (sum + other)?;
        }
        let mean = (sum / self.world_size() as f64)?;
        Ok(PendingMean::new(move || Ok(mean)))
    }
}
