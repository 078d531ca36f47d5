//! Whether every sample of a source can be decoded: `data verify`.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::error::DataError;
use crate::progress::Progress;
use crate::source::Splits;

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct VerifyReport {
    /// Samples that were decoded, of all splits.
    pub samples: usize,
    /// The bad ones, in the order of the source.
    pub bad: Vec<BadFile>,
}

/// A sample that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BadFile {
    /// `train` or `test`.
    pub split: String,
    /// Its number in the split.
    pub index: usize,
    /// Its name: a path, or a place within an archive.
    pub name: String,
    /// Why, in one sentence that names it.
    pub reason: String,
}

/// Decodes every sample of every split of a source on `threads` threads (0: one per core).
/// `progress` is called after each sample, from any thread.
///
/// # Errors
/// [`DataError::Config`] if the threads cannot be started. Bad samples are no error, but are in the report.
pub fn verify(
    splits: &Splits,
    threads: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<VerifyReport, DataError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| DataError::Config { key: "threads", reason: error.to_string() })?;
    let samples: usize = splits.iter().map(|(_, dataset)| dataset.len()).sum();
    let done = AtomicU64::new(0);
    let mut bad = Vec::new();
    for (split, dataset) in splits.iter() {
        let found: Vec<BadFile> = pool.install(|| {
            (0..dataset.len())
                .into_par_iter()
                .filter_map(|index| {
                    let result = dataset.image(index);
                    progress(Progress { done: done.fetch_add(1, Ordering::Relaxed) + 1, total: samples as u64 });
                    let reason = result.err()?.to_string();
                    Some(BadFile { split: split.to_string(), index, name: dataset.name(index), reason })
                })
                .collect()
        });
        bad.extend(found);
    }
    Ok(VerifyReport { samples, bad })
}
