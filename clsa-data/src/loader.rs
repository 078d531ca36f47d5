//! The prefetching loader.
//!
//! A consumer that takes batch b asks for batch b + `prefetch`. Two coordinating threads take such requests in order;
//! each spreads the samples of its batch over the loader's own thread pool, so that the pool always has the samples of
//! the next batch to go on with, and delivers the finished batch over a channel.
//!
//! **Memory.** At most `prefetch` batches exist ahead of the consumer, beside those it holds and, per thread, one
//! decoded image. Storage of a batch returns to the loader when the consumer drops it and is reused.

mod batch;
mod batches;
mod config;
mod epoch;
mod shared;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crossbeam::channel::{bounded, unbounded};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::in_order::pool;
use crate::order;
use crate::transform::Transform;
pub use batch::Batch;
pub use batches::Batches;
pub use config::{LoaderConfig, OnError};
use epoch::EpochWork;
pub use shared::BadSample;
use shared::{BadSampleHandler, Shared, locked};

/// Batches that are worked on at once: while the last samples of one are finished, the next keeps the pool busy.
const COORDINATORS: usize = 2;

/// Reads, decodes and transforms the samples of a data set on threads of its own.
///
/// # Examples
/// ```
/// use std::error::Error;
/// use std::sync::Arc;
///
/// use clsa_data::{Loader, LoaderConfig, Sample, Source, Split, Transform};
///
/// /// Keeps the first byte of each image.
/// struct FirstByte;
///
/// impl Transform for FirstByte {
///     type Batch = Vec<u8>;
///     type Slot<'a> = &'a mut u8;
///
///     fn allocate(&self, samples: usize) -> Vec<u8> {
///         vec![0; samples]
///     }
///
///     fn slots<'a>(&'a self, batch: &'a mut Vec<u8>) -> Vec<&'a mut u8> {
///         batch.iter_mut().collect()
///     }
///
///     fn apply(&self, sample: &Sample<'_>, slot: &mut u8) -> Result<(), Box<dyn Error + Send + Sync>> {
///         *slot = sample.image.as_raw()[0];
///         Ok(())
///     }
/// }
///
/// let train = "procedural:train=100".parse::<Source>()?.open(Split::Train)?;
/// let config = LoaderConfig { batch_size: 16, seed: 3, ..LoaderConfig::default() };
/// let loader = Loader::new(train, Arc::new(FirstByte), config)?
///     .on_bad_sample(|bad| eprintln!("warning: sample skipped: {}", bad.reason));
/// assert_eq!(loader.batches_per_epoch(), 6);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch, 0) {
///         let batch = batch?;
///         assert_eq!((batch.len(), batch.samples.len(), batch.labels.len()), (16, 16, 16));
///     }
/// }
/// # Ok::<(), Box<dyn Error>>(())
/// ```
pub struct Loader<T: Transform> {
    shared: Arc<Shared<T>>,
    on_bad_sample: Box<BadSampleHandler>,
}

impl<T: Transform> Loader<T> {
    /// A loader of `dataset`. Threads are started here; work starts with [`Loader::epoch`].
    ///
    /// # Errors
    /// [`DataError::Config`] if a setting is out of range or an epoch would have no batch.
    pub fn new(dataset: Arc<dyn Dataset>, transform: Arc<T>, mut config: LoaderConfig) -> Result<Self, DataError> {
        let partition = config.partition(dataset.len())?;
        // More cannot be ahead.
        config.prefetch = config.prefetch.min(partition.batches());
        let pool = pool(config.threads)?;
        let (recycle, recycled) = bounded(config.prefetch + 1);
        let shared = Shared {
            dataset,
            transform,
            config,
            partition,
            pool,
            recycle,
            recycled,
            known_bad: Mutex::default(),
            reported: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), on_bad_sample: Box::new(|_| ()) })
    }

    /// Calls `handler` with each bad sample that is skipped, once, in the order of the batches, before the batch is handed
    /// out that lacks it. Without a handler, skipped samples are only listed by [`Loader::bad_samples`].
    pub fn on_bad_sample(mut self, handler: impl Fn(&BadSample) + Send + Sync + 'static) -> Self {
        self.on_bad_sample = Box::new(handler);
        self
    }

    /// The data set that is read.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.shared.dataset
    }

    /// Batches of an epoch; the same for every rank.
    pub fn batches_per_epoch(&self) -> usize {
        self.shared.partition.batches()
    }

    /// The samples that were found bad so far, by number.
    pub fn bad_samples(&self) -> Vec<BadSample> {
        locked(&self.shared.reported)
            .iter()
            .map(|(&index, reason)| BadSample { index, reason: reason.clone() })
            .collect()
    }

    /// The batches of `epoch` from `first_batch` on; those before are neither read nor decoded. Work on the first
    /// `prefetch` batches starts at once, so an iterator made early has them ready. Dropping it stops the work.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Batches<'_, T> {
        let config = &self.shared.config;
        let canceled = Arc::new(AtomicBool::new(false));
        let (requests, incoming) = unbounded();
        let order = self.order(epoch);
        let coordinators = (0..COORDINATORS)
            .map(|_| {
                let (shared, order, canceled) = (self.shared.clone(), order.clone(), canceled.clone());
                let work = EpochWork { shared, epoch, order, canceled };
                let incoming = incoming.clone();
                std::thread::spawn(move || work.serve(&incoming))
            })
            .collect();
        let mut batches = Batches {
            shared: &self.shared,
            on_bad_sample: &*self.on_bad_sample,
            next_request: first_batch,
            next_batch: first_batch,
            requests: Some(requests),
            pending: VecDeque::new(),
            canceled,
            coordinators,
        };
        for _ in 0..config.prefetch {
            batches.request();
        }
        batches
    }

    /// The order of an epoch, the same for every rank: each takes its own positions of it.
    fn order(&self, epoch: u64) -> Arc<[u32]> {
        let config = &self.shared.config;
        let len = self.shared.partition.samples as u32;
        let order: Vec<u32> = match (config.shuffle, config.shuffle_buffer, self.shared.dataset.shards()) {
            (false, _, _) => (0..len).collect(),
            (true, Some(buffer), Some(shards)) => {
                let (batch_size, ranks) = (config.batch_size, config.world_size);
                order::buffered_by_rank(config.seed, epoch, &shards, buffer, batch_size, ranks)
            }
            (true, Some(_), None) | (true, None, _) => order::shuffled(config.seed, epoch, len),
        };
        order.into()
    }
}
