//! Whether every sample of a source can be decoded.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::error::DataError;
use crate::in_order::pool;
use crate::sample_error::SampleError;
use crate::source::Splits;
use crate::split::Split;

/// What [`verify`] has found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Samples that were decoded, of all splits.
    pub samples: usize,
    /// The bad ones, in the order of the source.
    pub bad: Vec<BadFile>,
}

/// A sample that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BadFile {
    /// Its split.
    pub split: Split,
    /// Its number in the split.
    pub index: usize,
    /// Its name: a path, or a place within an archive.
    pub name: String,
    /// Why, in one sentence that names it.
    pub reason: String,
}

/// Decodes every sample of every split of a source on `threads` threads (0: one per core). Calls `progress(done, of)` after
/// each sample, from any thread.
///
/// # Errors
/// [`DataError::Config`] if the threads cannot be started, [`DataError::Remote`] if a store on another machine fails. Bad samples are
/// no error, but are in the report.
///
/// # Examples
/// ```
/// use clsa_data::{Limits, Source, verify::verify};
///
/// let source: Source = "procedural:classes=2,train=20,test=4".parse()?;
/// let report = verify(&source.open_splits(Limits::default())?, 0, &|done, of| eprintln!("{done} of {of}"))?;
/// assert_eq!((report.samples, report.bad.len()), (24, 0));
/// # Ok::<(), clsa_data::DataError>(())
/// ```
pub fn verify(
    splits: &Splits,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<VerifyReport, DataError> {
    let pool = pool(threads)?;
    let samples: usize = splits.iter().map(|(_, dataset)| dataset.len()).sum();
    let done = AtomicU64::new(0);
    let mut bad = Vec::new();
    for (split, dataset) in splits.iter() {
        let found: Result<Vec<BadFile>, DataError> = pool.install(|| {
            (0..dataset.len())
                .into_par_iter()
                .filter_map(|index| {
                    let result = dataset.image(index);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, samples as u64);
                    match result.err()? {
                        SampleError::Remote(error) => Some(Err(error.into())),
                        error => {
                            Some(Ok(BadFile { split, index, name: dataset.name(index), reason: error.to_string() }))
                        }
                    }
                })
                .collect()
        });
        bad.extend(found?);
    }
    Ok(VerifyReport { samples, bad })
}
