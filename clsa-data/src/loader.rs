//! The prefetching loader.
//!
//! A consumer that takes batch b asks for batch b + `prefetch`. Two coordinating threads take such requests in order;
//! each spreads the samples of its batch over the loader's own thread pool, so that the pool always has the samples of
//! the next batch to go on with, and delivers the finished batch over a channel.
//!
//! **Memory.** At most `prefetch` batches exist ahead of the consumer, beside those it holds and, per thread, one
//! decoded image. Storage of a batch returns to the loader when the consumer drops it and is reused.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use crate::dataset::{Dataset, Label};
use crate::error::DataError;
use crate::order::{self, Partition};
use crate::transform::{Sample, Transform};

/// Batches that are worked on at once: while the last samples of one are finished, the next keeps the pool busy.
const COORDINATORS: usize = 2;

/// What the loader does with a sample that cannot be read or decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Ends with [`DataError::BadSample`].
    Stop,
    /// Puts the next good sample of the epoch's order in its place, so that batches keep their size.
    #[default]
    Skip,
}

/// Settings of a [`Loader`].
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// Samples of a batch of this rank, at least 1. Default 256.
    pub batch_size: usize,
    /// With the epoch, what the order of samples depends on. Default 0.
    pub seed: u64,
    /// Threads that read, decode and transform; 0 means one per core. Default 0.
    pub threads: usize,
    /// Batches that are prepared ahead of the consumer, at least 1. Default 2.
    pub prefetch: usize,
    /// Whether samples come in random order; otherwise in the order of the data set. Default true.
    pub shuffle: bool,
    /// For data sets in shards ([`Dataset::shards`]): shuffles shards, and samples within a buffer of this many, so
    /// that shards are read in sequence. `None` shuffles over the whole data set. Default `None`.
    pub shuffle_buffer: Option<usize>,
    /// Whether a last batch that is not full is left out. Default true.
    pub drop_last: bool,
    /// This rank, below `world_size`. Default 0.
    pub rank: usize,
    /// Ranks that share each global batch, at least 1. Default 1.
    pub world_size: usize,
    /// What to do with a bad sample. Default [`OnError::Skip`].
    pub on_error: OnError,
    /// The part of the data set, in 0..=1, that may be bad before the loader stops nevertheless. Default 0.01.
    pub max_bad_fraction: f64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 256,
            seed: 0,
            threads: 0,
            prefetch: 2,
            shuffle: true,
            shuffle_buffer: None,
            drop_last: true,
            rank: 0,
            world_size: 1,
            on_error: OnError::Skip,
            max_bad_fraction: 0.01,
        }
    }
}

/// A sample that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSample {
    /// Its number in the data set.
    pub index: usize,
    /// Why, in one sentence that names it.
    pub reason: String,
}

/// Reads, decodes and transforms the samples of a data set on threads of its own.
pub struct Loader<T: Transform> {
    shared: Arc<Shared<T>>,
    on_bad_sample: Box<dyn Fn(&BadSample) + Send + Sync>,
}

/// What the consumer and the threads share.
struct Shared<T: Transform> {
    dataset: Arc<dyn Dataset>,
    transform: Arc<T>,
    config: LoaderConfig,
    partition: Partition,
    pool: rayon::ThreadPool,
    recycle: Sender<T::Batch>,
    recycled: Receiver<T::Batch>,
    /// Samples known to be bad, with the reason: each is tried once.
    known_bad: Mutex<HashMap<usize, String>>,
    /// Those that the consumer has been told of, in the order of the batches, whatever the threads did.
    reported: Mutex<BTreeMap<usize, String>>,
}

fn locked<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Transform> Loader<T> {
    /// A loader of `dataset`. Threads are started here; work starts with [`Loader::epoch`].
    ///
    /// # Errors
    /// [`DataError::Config`] if a setting is out of range or an epoch would have no batch.
    pub fn new(dataset: Arc<dyn Dataset>, transform: Arc<T>, mut config: LoaderConfig) -> Result<Self, DataError> {
        let refuse = |key, reason: String| Err(DataError::Config { key, reason });
        for (key, value) in
            [("batch_size", config.batch_size), ("prefetch", config.prefetch), ("world_size", config.world_size)]
        {
            if value == 0 {
                return refuse(key, "must be at least 1".into());
            }
        }
        if config.rank >= config.world_size {
            return refuse("rank", format!("is {}, but must be below world_size = {}", config.rank, config.world_size));
        }
        if !(0.0..=1.0).contains(&config.max_bad_fraction) {
            return refuse("max_bad_fraction", format!("is {}, but must be in 0..=1", config.max_bad_fraction));
        }
        let samples = dataset.len();
        if u32::try_from(samples).is_err() {
            return refuse("dataset", format!("has {samples} samples, more than the 4,294,967,295 that are supported"));
        }
        if config.batch_size.checked_mul(config.world_size).is_none() {
            return refuse("batch_size", format!("is {}, which no data set has", config.batch_size));
        }
        let partition = Partition {
            samples,
            batch_size: config.batch_size,
            rank: config.rank,
            world_size: config.world_size,
            drop_last: config.drop_last,
        };
        if partition.batches() == 0 {
            let global = config.batch_size * config.world_size;
            return refuse(
                "batch_size",
                format!("the global batch of {global} is larger than the data set of {samples} samples"),
            );
        }
        // More cannot be ahead.
        config.prefetch = config.prefetch.min(partition.batches());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|thread| format!("clsa-data-{thread}"))
            .build()
            .map_err(|error| DataError::Config { key: "threads", reason: error.to_string() })?;
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
        Ok(Self {
            shared: Arc::new(shared),
            on_bad_sample: Box::new(|bad| eprintln!("warning: sample skipped: {}", bad.reason)),
        })
    }

    /// Has `handler` told of each bad sample, once, instead of a line on the standard error.
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
        let len = self.shared.partition.samples as u32;
        let order: Vec<u32> = match (config.shuffle, config.shuffle_buffer, self.shared.dataset.shards()) {
            (false, _, _) => (0..len).collect(),
            (true, Some(buffer), Some(shards)) => order::buffered(config.seed, epoch, &shards, buffer),
            (true, _, _) => order::shuffled(config.seed, epoch, len),
        };
        let cancelled = Arc::new(AtomicBool::new(false));
        let (requests, incoming) = unbounded::<Request<T::Batch>>();
        let order: Arc<[u32]> = order.into();
        let coordinators = (0..COORDINATORS)
            .map(|_| {
                let work = EpochWork {
                    shared: self.shared.clone(),
                    epoch,
                    order: order.clone(),
                    cancelled: cancelled.clone(),
                };
                let incoming = incoming.clone();
                std::thread::spawn(move || work.serve(&incoming))
            })
            .collect();
        let mut batches = Batches {
            loader: self,
            epoch,
            next_request: first_batch,
            next_batch: first_batch,
            failed: false,
            requests: Some(requests),
            pending: VecDeque::new(),
            cancelled,
            coordinators,
        };
        for _ in 0..config.prefetch {
            batches.request();
        }
        batches
    }
}

/// A batch that is to be made, and where it is delivered.
struct Request<B> {
    index: usize,
    deliver: Sender<Result<Prepared<B>, DataError>>,
}

/// A finished batch on its way to the consumer.
struct Prepared<B> {
    storage: B,
    samples: Vec<usize>,
    bad: Vec<BadSample>,
}

/// What a coordinating thread needs to know of its epoch.
struct EpochWork<T: Transform> {
    shared: Arc<Shared<T>>,
    epoch: u64,
    order: Arc<[u32]>,
    cancelled: Arc<AtomicBool>,
}

/// What became of one position of the order.
enum Outcome {
    Loaded { index: usize, bad: Vec<BadSample> },
    Cancelled,
}

impl<T: Transform> EpochWork<T> {
    fn serve(&self, incoming: &Receiver<Request<T::Batch>>) {
        for request in incoming {
            if self.cancelled.load(Ordering::Relaxed) {
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
                Some(Ok(Outcome::Cancelled)) => return None,
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
            if self.cancelled.load(Ordering::Relaxed) {
                return Ok(Outcome::Cancelled);
            }
            let index = self.order[(position + bad.len()) % self.order.len()] as usize;
            let known = locked(&shared.known_bad).get(&index).cloned();
            let reason = match known {
                Some(reason) => reason,
                None => match shared.dataset.image(index) {
                    Ok(image) => break (index, image),
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

impl<T: Transform> Shared<T> {
    /// Refuses a number of bad samples above the allowed part of the data set.
    fn check_bad(&self, bad: usize, last: &str) -> Result<(), DataError> {
        let limit = self.config.max_bad_fraction;
        let samples = self.partition.samples;
        if bad as f64 > limit * samples as f64 || bad == samples {
            return Err(DataError::TooManyBad { bad, samples, limit, last: last.into() });
        }
        Ok(())
    }
}

/// The batches of one epoch, in order. After an error there are no more.
pub struct Batches<'a, T: Transform> {
    loader: &'a Loader<T>,
    epoch: u64,
    next_request: usize,
    next_batch: usize,
    failed: bool,
    /// `None` once the threads are told to end.
    requests: Option<Sender<Request<T::Batch>>>,
    pending: VecDeque<Receiver<Result<Prepared<T::Batch>, DataError>>>,
    cancelled: Arc<AtomicBool>,
    coordinators: Vec<JoinHandle<()>>,
}

impl<T: Transform> Batches<'_, T> {
    /// Asks for one more batch, if the epoch has one.
    fn request(&mut self) {
        if self.next_request >= self.loader.batches_per_epoch() {
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

    /// Tells of samples that were not known to be bad, and counts them.
    fn report(&self, bad: Vec<BadSample>) -> Result<(), DataError> {
        let shared = &self.loader.shared;
        for sample in bad {
            let mut reported = locked(&shared.reported);
            if reported.insert(sample.index, sample.reason.clone()).is_none() {
                let count = reported.len();
                drop(reported);
                (self.loader.on_bad_sample)(&sample);
                shared.check_bad(count, &sample.reason)?;
            }
        }
        Ok(())
    }
}

impl<T: Transform> Iterator for Batches<'_, T> {
    type Item = Result<Batch<T::Batch>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let start = Instant::now();
        let delivered = self.pending.pop_front()?;
        let received = delivered.recv();
        let wait = start.elapsed();
        let index = self.next_batch;
        self.next_batch += 1;
        let result = received.unwrap_or(Err(DataError::Panicked { batch: index })).and_then(|mut prepared| {
            self.report(std::mem::take(&mut prepared.bad))?;
            Ok(prepared)
        });
        match result {
            Ok(Prepared { storage, samples, .. }) => {
                self.request();
                let shared = &self.loader.shared;
                let full = samples.len() == shared.config.batch_size;
                let labels = samples.iter().map(|&sample| shared.dataset.label(sample)).collect();
                Some(Ok(Batch {
                    epoch: self.epoch,
                    index,
                    samples,
                    labels,
                    wait,
                    storage: Some(storage),
                    recycle: full.then(|| shared.recycle.clone()),
                }))
            }
            Err(error) => {
                self.failed = true;
                self.cancelled.store(true, Ordering::Relaxed);
                Some(Err(error))
            }
        }
    }
}

impl<T: Transform> Drop for Batches<'_, T> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.requests = None;
        for coordinator in self.coordinators.drain(..) {
            // A panic there has reached the consumer as `DataError::Panicked`.
            let _ = coordinator.join();
        }
    }
}

/// A batch; dereferences to what the transform made of it.
pub struct Batch<B> {
    /// The epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub index: usize,
    /// The numbers of its samples in the data set.
    pub samples: Vec<usize>,
    /// Their labels.
    pub labels: Vec<Label>,
    /// How long the consumer waited for it.
    pub wait: Duration,
    /// `None` only while it is dropped.
    storage: Option<B>,
    recycle: Option<Sender<B>>,
}

impl<B> Deref for Batch<B> {
    type Target = B;

    fn deref(&self) -> &B {
        self.storage.as_ref().expect("storage is taken only on drop")
    }
}

impl<B> DerefMut for Batch<B> {
    fn deref_mut(&mut self) -> &mut B {
        self.storage.as_mut().expect("storage is taken only on drop")
    }
}

impl<B> Drop for Batch<B> {
    fn drop(&mut self) {
        if let (Some(storage), Some(recycle)) = (self.storage.take(), &self.recycle) {
            // With enough storage at hand already, this one is freed.
            let _ = recycle.try_send(storage);
        }
    }
}
