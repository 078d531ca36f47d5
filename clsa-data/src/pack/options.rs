//! How shards are written, and what was written.

use std::path::PathBuf;

use crate::error::DataError;

/// How [`pack`](super::pack) writes shards: name the fields that differ, and `..PackOptions::default()`.
#[derive(Clone, Debug, PartialEq)]
pub struct PackOptions {
    /// Images whose short side is longer are resized to this short side in pixels (bilinear with antialiasing) and
    /// encoded as JPEG; all others keep their files. `None` keeps all. Default `None`.
    pub short_side: Option<u32>,
    /// Quality of JPEG, in 1..=100. Default 95.
    pub quality: u8,
    /// Bytes of images after which a shard is full. Default 256 MiB.
    pub shard_bytes: u64,
    /// What the order of samples in the shards depends on; `None` keeps the order of the source. Default `Some(0)`:
    /// samples that are read in sequence are then of mixed classes.
    pub shuffle_seed: Option<u64>,
    /// Threads; 0 means one per core. Default 0.
    pub threads: usize,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { short_side: None, quality: 95, shard_bytes: 256 << 20, shuffle_seed: Some(0), threads: 0 }
    }
}

/// What [`pack`](super::pack) has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PackReport {
    /// The shards, in order.
    pub shards: Vec<PathBuf>,
    /// Samples in them.
    pub samples: usize,
    /// Bytes of the shards.
    pub bytes: u64,
    /// Samples that were left out, each with its reason in one sentence that names it.
    pub bad: Vec<String>,
    /// The folder `OUT.part`, where what an earlier packing had left in it was removed before.
    pub took_over: Option<PathBuf>,
}

impl PackOptions {
    /// Checks the ranges of the fields.
    ///
    /// # Errors
    /// [`DataError::Config`] with the field that is out of range.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let refuse = |field, reason: String| Err(DataError::Config { field, reason });
        if !(1..=100).contains(&self.quality) {
            return refuse("quality", format!("is {}, but must be in 1..=100", self.quality));
        }
        if self.short_side == Some(0) {
            return refuse("short_side", "is 0, but must be at least 1".into());
        }
        Ok(())
    }
}

impl PackReport {
    /// Counts a finished shard: its path and its size in bytes.
    pub(super) fn add(&mut self, (path, bytes): (PathBuf, u64)) {
        self.shards.push(path);
        self.bytes += bytes;
    }
}
