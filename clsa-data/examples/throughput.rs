//! Images per second that the loader reads and decodes from a source, with 1 and with more threads.
//!
//! `cargo run --release -p clsa-data --example throughput -- flat:PATH --threads 2`

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use clsa_data::{Loader, LoaderConfig, Sample, Source, Split, Transform};

#[derive(Parser)]
struct Args {
    /// Where the images come from, as KIND:PATH
    #[arg(default_value = "procedural")]
    source: Source,
    /// Threads of the second measurement; the first has one
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

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
    let Args { source, threads: most, seconds } = Args::parse();
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
