//! Many things that are done at once, of which the first one that fails is told, whichever thread is the fastest.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::DataError;

/// A pool of so many threads; 0 means one per core.
///
/// # Errors
/// [`DataError::Config`] if they cannot be started.
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, DataError> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|thread| format!("clsa-data-{thread}"))
        .build()
        .map_err(|error| DataError::Config { field: "threads", reason: error.to_string() })
}

/// What `work` makes of each item, in order, or else the error of the first item that has one. What stands behind that item may be
/// left undone.
pub(crate) fn all_or_first_error<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let first_failed = AtomicUsize::new(usize::MAX);
    let done = items.par_iter().enumerate().map(|(at, item)| {
        if at > first_failed.load(Ordering::Relaxed) {
            return None;
        }
        let result = work(item);
        if result.is_err() {
            first_failed.fetch_min(at, Ordering::Relaxed);
        }
        Some(result)
    });
    // No item before the first that failed is left out.
    done.collect::<Vec<Option<Result<R, E>>>>().into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_that_of_the_first_item_even_if_a_later_one_fails_before_it() {
        let pool = pool(4).unwrap();
        let items: Vec<u64> = (0..64).collect();
        let work = |item: &u64| {
            // The later an item, the sooner it is done.
            std::thread::sleep(std::time::Duration::from_millis((64 - item) / 8));
            if item % 16 == 7 { Err(*item) } else { Ok(*item) }
        };
        for _ in 0..4 {
            assert_eq!(pool.install(|| all_or_first_error(&items, work)), Err(7));
        }
        assert_eq!(pool.install(|| all_or_first_error(&items[..7], work)), Ok((0..7).collect()));
    }
}
