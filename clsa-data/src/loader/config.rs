//! Settings of a loader.

use crate::error::DataError;
use crate::order::Partition;

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

/// Settings of a [`Loader`](crate::Loader): write those that differ, and `..LoaderConfig::default()`.
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
    /// For data sets in shards ([`Dataset::shards`](crate::Dataset::shards)): shuffles shards, and samples within a buffer of this many, so
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
    /// The part of the data set, in 0..=1, that may be bad before the loader stops nevertheless. Counted are the bad samples that this
    /// loader has met since it was opened; each of several ranks meets those of its own part of an epoch. Default 0.01.
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

impl LoaderConfig {
    /// How epochs of `samples` samples are cut into batches.
    ///
    /// # Errors
    /// [`DataError::Config`] if a setting is out of range or an epoch would have no batch.
    pub(super) fn partition(&self, samples: usize) -> Result<Partition, DataError> {
        let Self { batch_size, prefetch, rank, world_size, drop_last, max_bad_fraction, .. } = *self;
        let refuse = |field, reason: String| Err(DataError::Config { field, reason });
        for (field, value) in [("batch_size", batch_size), ("prefetch", prefetch), ("world_size", world_size)] {
            if value == 0 {
                return refuse(field, "is 0, but must be at least 1".into());
            }
        }
        if rank >= world_size {
            return refuse("rank", format!("is {rank}, but must be below world_size = {world_size}"));
        }
        if !(0.0..=1.0).contains(&max_bad_fraction) {
            return refuse("max_bad_fraction", format!("is {max_bad_fraction}, but must be in 0..=1"));
        }
        if u32::try_from(samples).is_err() {
            return refuse("dataset", format!("has {samples} samples, more than the 4,294,967,295 that are supported"));
        }
        if batch_size.checked_mul(world_size).is_none() {
            return refuse("batch_size", format!("is {batch_size}, which no data set has"));
        }
        let partition = Partition { samples, batch_size, rank, world_size, drop_last };
        if partition.batches() == 0 {
            let global = batch_size * world_size;
            let reason = format!("the global batch of {global} is larger than the data set of {samples} samples");
            return refuse("batch_size", reason);
        }
        Ok(partition)
    }
}
