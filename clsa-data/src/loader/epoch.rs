//! The work of one epoch: coordinating threads that make the batches that were asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender};

use super::config::OnError;
use super::shared::{BadSample, Shared, locked};
use crate::error::DataError;
use crate::sample_error::SampleError;
use crate::transform::{Sample, Transform};

/// A batch that is to be made, and where it is delivered.
pub(super) struct Request<B> {
    pub index: usize,
    pub deliver: Sender<Result<Prepared<B>, DataError>>,
}

/// A finished batch on its way to the consumer.
pub(super) struct Prepared<B> {
    pub storage: B,
    pub samples: Vec<usize>,
    pub bad: Vec<BadSample>,
}

/// What a coordinating thread needs to know of its epoch.
pub(super) struct EpochWork<T: Transform> {
    pub shared: Arc<Shared<T>>,
    pub epoch: u64,
    pub order: Arc<[u32]>,
    pub canceled: Arc<AtomicBool>,
}

/// What became of one position of the order.
enum Outcome {
    Loaded { index: usize, bad: Vec<BadSample> },
    Canceled,
}

impl<T: Transform> EpochWork<T> {
    /// Makes batches until nobody can ask for one or the consumer is gone.
    pub(super) fn serve(&self, incoming: &Receiver<Request<T::Batch>>) {
        for request in incoming {
            if self.canceled.load(Ordering::Relaxed) {
                return;
            }
            if let Some(result) = self.prepare(request.index) {
                // A consumer that is gone needs no batch.
                let _ = request.deliver.send(result);
            }
        }
    }

    /// Makes a batch; `None` if the consumer went away meanwhile.
    fn prepare(&self, index: usize) -> Option<Result<Prepared<T::Batch>, DataError>> {
        let shared = &self.shared;
        let positions = shared.partition.positions(index);
        let full = positions.len() == shared.config.batch_size;
        let recycled = if full { shared.recycled.try_recv().ok() } else { None };
        let mut storage = recycled.unwrap_or_else(|| shared.transform.allocate(positions.len()));
        let mut outcomes: Vec<Option<Result<Outcome, DataError>>> = Vec::new();
        outcomes.resize_with(positions.len(), || None);
        // The coordinator is no thread of the pool: it only waits, and no pool thread ever waits for another.
        shared.pool.in_place_scope_fifo(|scope| {
            let slots = shared.transform.slots(&mut storage);
            debug_assert_eq!(slots.len(), outcomes.len());
            for ((position, slot), outcome) in positions.clone().zip(slots).zip(&mut outcomes) {
                scope.spawn_fifo(move |_| *outcome = Some(self.load(position, slot)));
            }
        });
        let mut prepared = Prepared { storage, samples: Vec::with_capacity(positions.len()), bad: Vec::new() };
        for outcome in outcomes {
            match outcome {
                Some(Ok(Outcome::Loaded { index, bad })) => {
                    prepared.samples.push(index);
                    prepared.bad.extend(bad);
                }
                Some(Ok(Outcome::Canceled)) => return None,
                Some(Err(error)) => return Some(Err(error)),
                None => return Some(Err(DataError::Panicked { batch: index })),
            }
        }
        Some(Ok(prepared))
    }

    /// Reads, decodes and transforms the sample at `position`, or the next good one after it in the epoch's order.
    fn load(&self, position: usize, slot: T::Slot<'_>) -> Result<Outcome, DataError> {
        let shared = &self.shared;
        let mut bad: Vec<BadSample> = Vec::new();
        let (index, image) = loop {
            if self.canceled.load(Ordering::Relaxed) {
                return Ok(Outcome::Canceled);
            }
            let index = self.order[(position + bad.len()) % self.order.len()] as usize;
            let known = locked(&shared.known_bad).get(&index).cloned();
            let reason = match known {
                Some(reason) => reason,
                None => match shared.dataset.image(index) {
                    Ok(image) => break (index, image),
                    // A store that fails says nothing of the image, and would soon fail for all.
                    Err(SampleError::Remote(error)) => return Err(error.into()),
                    Err(error) if shared.config.on_error == OnError::Stop => return Err(DataError::BadSample(error)),
                    Err(error) => {
                        let reason = error.to_string();
                        locked(&shared.known_bad).insert(index, reason.clone());
                        reason
                    }
                },
            };
            bad.push(BadSample { index, reason: reason.clone() });
            shared.check_bad(bad.len(), &reason)?;
        };
        let sample = Sample { image: &image, index, epoch: self.epoch };
        match shared.transform.apply(&sample, slot) {
            Ok(()) => Ok(Outcome::Loaded { index, bad }),
            Err(reason) => Err(DataError::Transform { name: shared.dataset.name(index), reason }),
        }
    }
}
