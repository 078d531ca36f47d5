//! The loader: order, content, memory, errors.

mod content;
mod errors;
mod ranks;
mod work;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use clsa_data::{Dataset, Label, Loader, LoaderConfig, Sample, SampleError, Transform};
use image::{Rgb, RgbImage};

/// A count that other threads add to and a test waits for.
#[derive(Default)]
struct Counter {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Counter {
    fn add(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn get(&self) -> usize {
        *self.count.lock().unwrap()
    }

    /// Waits until the count is at least this; a minute without that is a failure.
    fn wait_for(&self, least: usize) {
        let count = self.count.lock().unwrap();
        let short = |count: &mut usize| *count < least;
        let (count, _) = self.changed.wait_timeout_while(count, Duration::from_secs(60), short).unwrap();
        assert!(*count >= least, "{count} of {least} after a minute");
    }
}

/// Numbered images of one pixel; the ones listed are bad. Counts how many images were asked for.
#[derive(Default)]
struct Numbered {
    len: usize,
    bad: Vec<usize>,
    read: Counter,
    shards: Option<Vec<usize>>,
}

impl Numbered {
    fn new(len: usize, bad: &[usize]) -> Arc<Self> {
        Arc::new(Self { len, bad: bad.to_vec(), ..Self::default() })
    }

    fn in_shards(shards: &[usize]) -> Arc<Self> {
        Arc::new(Self { len: shards.iter().sum(), shards: Some(shards.to_vec()), ..Self::default() })
    }
}

impl Dataset for Numbered {
    fn len(&self) -> usize {
        self.len
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, index: usize) -> Label {
        Label::Class(index as u32)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        self.read.add();
        if self.bad.contains(&index) {
            return Err(SampleError::Decode { name: self.name(index), reason: "made bad".into() });
        }
        let bytes = (index as u32).to_le_bytes();
        Ok(RgbImage::from_pixel(1, 1, Rgb([bytes[0], bytes[1], bytes[2]])))
    }

    fn dimensions(&self, _index: usize) -> Result<(u32, u32), SampleError> {
        Ok((1, 1))
    }

    fn name(&self, index: usize) -> String {
        format!("number {index}")
    }

    fn shards(&self) -> Option<Vec<usize>> {
        self.shards.clone()
    }
}

/// Writes (index, epoch, first pixel) of each sample after a pause; counts the storages that were allocated and the samples
/// that were written.
#[derive(Default)]
struct Record {
    allocated: Counter,
    written: Counter,
    pause: Duration,
}

type Row = (usize, u64, [u8; 3]);

impl Transform for Record {
    type Batch = Vec<Row>;
    type Slot<'a> = &'a mut Row;

    fn allocate(&self, samples: usize) -> Vec<Row> {
        self.allocated.add();
        vec![Row::default(); samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<Row>) -> Vec<&'a mut Row> {
        batch.iter_mut().collect()
    }

    fn apply(&self, sample: &Sample<'_>, slot: &mut Row) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        std::thread::sleep(self.pause);
        *slot = (sample.index, sample.epoch, sample.image.get_pixel(0, 0).0);
        self.written.add();
        Ok(())
    }
}

fn config(batch_size: usize, threads: usize) -> LoaderConfig {
    LoaderConfig { batch_size, threads, seed: 7, ..LoaderConfig::default() }
}

fn loader(dataset: Arc<dyn Dataset>, config: LoaderConfig) -> Loader<Record> {
    Loader::new(dataset, Arc::default(), config).unwrap()
}

/// The numbers of the samples of each batch.
fn samples(loader: &Loader<Record>, epoch: u64, first: usize) -> Vec<Vec<usize>> {
    loader.epoch(epoch, first).map(|batch| batch.unwrap().samples.clone()).collect()
}
