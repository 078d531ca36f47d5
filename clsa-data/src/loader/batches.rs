//! The batches of one epoch as an iterator.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::batch::Batch;
use super::epoch::{Prepared, Request};
use super::shared::{BadSample, BadSampleHandler, Shared, locked};
use crate::error::DataError;
use crate::transform::Transform;

/// The batches of one epoch, in order; [`Loader::epoch`](crate::Loader::epoch) returns it. After an error there are no
/// more.
pub struct Batches<'a, T: Transform> {
    pub(super) shared: &'a Shared<T>,
    pub(super) on_bad_sample: &'a BadSampleHandler,
    pub(super) next_request: usize,
    pub(super) next_batch: usize,
    /// `None` once the threads are to end.
    pub(super) requests: Option<Sender<Request<T::Batch>>>,
    pub(super) pending: VecDeque<Receiver<Result<Prepared<T::Batch>, DataError>>>,
    pub(super) canceled: Arc<AtomicBool>,
    pub(super) coordinators: Vec<JoinHandle<()>>,
}

impl<T: Transform> Batches<'_, T> {
    /// Asks for one more batch, if the epoch has one.
    pub(super) fn request(&mut self) {
        if self.next_request >= self.shared.partition.batches() {
            return;
        }
        let (deliver, delivered) = bounded(1);
        if let Some(requests) = &self.requests
            && requests.send(Request { index: self.next_request, deliver }).is_ok()
        {
            self.pending.push_back(delivered);
            self.next_request += 1;
        }
    }

    /// Hands on samples that were not known to be bad, and counts them.
    fn report(&self, bad: &[BadSample]) -> Result<(), DataError> {
        let shared = self.shared;
        for sample in bad {
            let mut reported = locked(&shared.reported);
            if reported.insert(sample.index, sample.reason.clone()).is_none() {
                let count = reported.len();
                drop(reported);
                (self.on_bad_sample)(sample);
                shared.check_bad(count, &sample.reason)?;
            }
        }
        Ok(())
    }
}

impl<T: Transform> Iterator for Batches<'_, T> {
    type Item = Result<Batch<T::Batch>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let delivered = self.pending.pop_front()?;
        let received = delivered.recv();
        let wait = start.elapsed();
        let index = self.next_batch;
        self.next_batch += 1;
        let result = (received.unwrap_or(Err(DataError::Panicked { batch: index })))
            .and_then(|prepared| self.report(&prepared.bad).map(|()| prepared));
        match result {
            Ok(Prepared { storage, samples, .. }) => {
                self.request();
                let shared = self.shared;
                let full = samples.len() == shared.config.batch_size;
                let labels = samples.iter().map(|&sample| shared.dataset.label(sample)).collect();
                Some(Ok(Batch {
                    index,
                    samples,
                    labels,
                    wait,
                    storage: Some(storage),
                    recycle: full.then(|| shared.recycle.clone()),
                }))
            }
            Err(error) => {
                self.canceled.store(true, Ordering::Relaxed);
                self.pending.clear();
                Some(Err(error))
            }
        }
    }
}

impl<T: Transform> Drop for Batches<'_, T> {
    fn drop(&mut self) {
        self.canceled.store(true, Ordering::Relaxed);
        self.requests = None;
        for coordinator in self.coordinators.drain(..) {
            // A panic there has reached the consumer as `DataError::Panicked`.
            let _ = coordinator.join();
        }
    }
}
