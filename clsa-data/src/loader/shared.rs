//! What the consumer of a loader and its threads share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{Receiver, Sender};

use super::config::LoaderConfig;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::order::Partition;
use crate::transform::Transform;

/// A sample that was left out, as [`Loader::on_bad_sample`](crate::Loader::on_bad_sample) hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadSample {
    /// Its number in the data set.
    pub index: usize,
    /// Why, in one sentence that names it.
    pub reason: String,
}

/// What is called with each bad sample, once.
pub(super) type BadSampleHandler = dyn Fn(&BadSample) + Send + Sync;

/// What the consumer and the threads share.
pub(super) struct Shared<T: Transform> {
    pub dataset: Arc<dyn Dataset>,
    pub transform: Arc<T>,
    pub config: LoaderConfig,
    pub partition: Partition,
    pub pool: rayon::ThreadPool,
    pub recycle: Sender<T::Batch>,
    pub recycled: Receiver<T::Batch>,
    /// Samples known to be bad, with the reason: they are not tried again.
    pub known_bad: Mutex<HashMap<usize, String>>,
    /// Those that were handed on to the consumer, in the order of the batches, whatever the threads did.
    pub reported: Mutex<BTreeMap<usize, String>>,
}

pub(super) fn locked<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Transform> Shared<T> {
    /// Refuses a number of bad samples above the allowed part of the data set.
    pub(super) fn check_bad(&self, bad: usize, last: &str) -> Result<(), DataError> {
        let limit = self.config.max_bad_fraction;
        let samples = self.partition.samples;
        if bad as f64 > limit * samples as f64 || bad == samples {
            return Err(DataError::TooManyBad { bad, samples, limit, last: last.into() });
        }
        Ok(())
    }
}
