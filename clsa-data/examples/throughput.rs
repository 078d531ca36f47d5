//! Images per second that the loader reads and decodes from a source, with 1 and with more threads.
//!
//! `cargo run --release -p clsa-data --example throughput -- flat:PATH [THREADS] [SECONDS]`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clsa_data::{Loader, LoaderConfig, Sample, Source, Split, Transform};

/// Keeps one number of each image: the loader's own work is what is measured.
struct FirstPixel;

impl Transform for FirstPixel {
    type Batch = Vec<u8>;
    type Slot<'a> = &'a mut u8;

    fn allocate(&self, samples: usize) -> Vec<u8> {
        vec![0; samples]
    }

    fn slots<'a>(&'a self, batch: &'a mut Vec<u8>) -> Vec<&'a mut u8> {
        batch.iter_mut().collect()
    }

    fn apply(&self, sample: &Sample<'_>, slot: &mut u8) -> Result<(), Box<dyn Error + Send + Sync>> {
        *slot = sample.image.as_raw()[0];
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let source: Source = arguments.next().unwrap_or("procedural".into()).parse()?;
    let most: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(5.0), |text| text.parse())?;
    let dataset = source.open(Split::Train)?;
    let mut one = None;
    for threads in if most > 1 { vec![1, most] } else { vec![1] } {
        let batch_size = dataset.len().min(32);
        let config = LoaderConfig { batch_size, threads, ..LoaderConfig::default() };
        let loader = Loader::new(dataset.clone(), Arc::new(FirstPixel), config)?;
        let (start, limit) = (Instant::now(), Duration::from_secs_f64(seconds));
        let mut images = 0;
        for batch in (0..).flat_map(|epoch| loader.epoch(epoch, 0)) {
            images += batch?.samples.len();
            if start.elapsed() > limit {
                break;
            }
        }
        let rate = images as f64 / start.elapsed().as_secs_f64();
        println!("{threads} threads: {rate:.0} images/s, {:.2} times one thread", rate / *one.get_or_insert(rate));
    }
    Ok(())
}
