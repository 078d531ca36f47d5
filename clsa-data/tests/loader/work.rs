//! When the loader works, how much memory it takes, and how long its consumer waits.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clsa_data::{Loader, LoaderConfig, Sample, Transform};
use crossbeam::channel::{Receiver, unbounded};

use crate::{Counter, Numbered, Record, config, loader};

#[test]
fn a_slow_consumer_never_has_more_than_prefetch_batches_made_ahead() {
    let (batch_size, prefetch) = (4, 3);
    let dataset = Numbered::new(400, &[]);
    let loader = loader(dataset.clone(), LoaderConfig { prefetch, ..config(batch_size, 2) });
    for (taken, batch) in loader.epoch(0, 0).take(10).enumerate() {
        let ahead = (taken + 1 + prefetch) * batch_size;
        dataset.read.wait_for(ahead);
        // Time to do what it must not do; a pause that is too short lets a wrong loader pass, but fails no right one.
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(dataset.read.get(), ahead, "after {} batches were taken", taken + 1);
        drop(batch.unwrap());
    }
}

#[test]
fn storage_is_reused_so_that_an_epoch_allocates_no_more_than_prefetch_plus_two_batches() {
    let transform = Arc::new(Record::default());
    let loader = Loader::new(Numbered::new(4000, &[]), transform.clone(), config(4, 2)).unwrap();
    for epoch in 0..2 {
        loader.epoch(epoch, 0).for_each(|batch| assert_eq!(batch.unwrap().len(), 4));
    }
    let allocated = transform.allocated.get();
    assert!(allocated <= LoaderConfig::default().prefetch + 2, "{allocated} storages");
}

#[test]
fn a_consumer_may_hold_all_batches_of_an_epoch() {
    let loader = loader(Numbered::new(64, &[]), config(4, 2));
    let held: Vec<_> = loader.epoch(0, 0).collect::<Result<_, _>>().unwrap();
    assert_eq!(held.len(), 16);
}

/// Waits for a permit before each sample.
struct Gated {
    started: Counter,
    permits: Receiver<()>,
}

impl Transform for Gated {
    type Batch = Vec<()>;
    type Slot<'a> = ();

    fn allocate(&self, samples: usize) -> Vec<()> {
        vec![(); samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<()>) -> Vec<()> {
        batch.clone()
    }

    fn apply(&self, _: &Sample<'_>, _: ()) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.started.add();
        Ok(self.permits.recv()?)
    }
}

#[test]
fn dropping_the_iterator_stops_the_work() {
    let dataset = Numbered::new(10_000, &[]);
    let (give, permits) = unbounded();
    let transform = Arc::new(Gated { started: Counter::default(), permits });
    let settings = LoaderConfig { prefetch: 2, ..config(1000, 2) };
    let loader = Loader::new(dataset.clone(), transform.clone(), settings).unwrap();
    let batches = loader.epoch(0, 0);
    transform.started.wait_for(2);
    let dropped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The two samples that have begun need their permits; the two batches would need 2000, which take 20 s.
        scope.spawn(|| {
            while !dropped.load(Ordering::SeqCst) {
                give.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        drop(batches);
        dropped.store(true, Ordering::SeqCst);
    });
    let read = dataset.read.get();
    assert!(read < 2000, "{read} samples read");
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(dataset.read.get(), read);
}

#[test]
fn a_batch_states_the_wait_of_its_consumer_which_is_long_only_where_it_was_not_ready() {
    let transform = Arc::new(Record { pause: Duration::from_millis(20), ..Record::default() });
    let settings = LoaderConfig { prefetch: 1, ..config(1, 1) };
    let loader = Loader::new(Numbered::new(30, &[]), transform.clone(), settings).unwrap();
    let (mut longest, mut shortest) = (Duration::ZERO, Duration::MAX);
    let mut batches = loader.epoch(0, 0);
    for taken in 0..30 {
        let comes_late = taken >= 15;
        if comes_late {
            transform.written.wait_for(taken + 1);
        }
        let start = Instant::now();
        let wait = batches.next().unwrap().unwrap().wait;
        assert!(wait <= start.elapsed(), "{wait:?}");
        if comes_late {
            shortest = shortest.min(wait);
        } else {
            longest = longest.max(wait);
        }
    }
    // A busy machine can lengthen or shorten one wait, but hardly all fifteen.
    let half = transform.pause / 2;
    assert!(longest > half && shortest < half, "{longest:?}, {shortest:?}");
}
