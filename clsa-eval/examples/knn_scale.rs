//! Time and peak memory of k-NN on synthetic features of any size, kept on disk as `cargo xtask eval` keeps them.
//!
//! ```sh
//! cargo run --release -p clsa-eval --example knn_scale -- 1281167 50000 2048   # training images, test images, dimensions
//! ```
//!
//! ImageNet's 10.5 GB of training features are written to a folder under the current one first, and removed at the end.

use clsa_eval::{EvalError, FeatureFile, FeatureRows, KnnConfig, Labelled, knn};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const CLASSES: u32 = 1000;
const BLOCK: usize = 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let mut size = |default| sizes.next().unwrap_or(Ok(default));
    let (train, test, dim) = (size(100_000)?, size(10_000)?, size(128)?);
    let folder = tempfile::tempdir_in(".")?;
    let (train, test) = (synthetic(folder.path(), 0, train, dim)?, synthetic(folder.path(), 1, test, dim)?);
    let labels = |rows: &FeatureFile| (0..rows.len() as u32).map(|row| row % CLASSES).collect::<Vec<_>>();
    let (train_labels, test_labels) = (labels(&train), labels(&test));
    println!("{} x {} images, {dim} dimensions; {} before", train.len(), test.len(), memory());
    let start = Instant::now();
    let train = Told { rows: &train, start, told: Mutex::new(start) };
    let train = Labelled { rows: &train, labels: &train_labels };
    let result = knn(train, Labelled { rows: &test, labels: &test_labels }, &KnnConfig::default())?;
    println!("{:.1} s, {}; top-1 {:.2} %", start.elapsed().as_secs_f64(), memory(), result.top1);
    Ok(())
}

/// Uniform values, moved a little by one value for each class.
fn synthetic(folder: &Path, seed: u64, rows: usize, dim: usize) -> Result<FeatureFile, EvalError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    FeatureFile::open_or_make(folder, &format!("synthetic {seed}"), [rows, dim], &|_| {}, |sink| {
        for start in (0..rows).step_by(BLOCK) {
            let mut block = Vec::with_capacity(BLOCK * dim);
            for row in start..(start + BLOCK).min(rows) {
                let at = row % CLASSES as usize % dim;
                block.extend((0..dim).map(|d| random.random_range(-1.0f32..1.0) + if d == at { 2.0 } else { 0.0 }));
            }
            sink(&block)?;
        }
        Ok(())
    })
}

/// Features that say now and then how far they have been read.
struct Told<'a> {
    rows: &'a FeatureFile,
    start: Instant,
    told: Mutex<Instant>,
}

impl FeatureRows for Told<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        let mut told = self.told.lock().expect("no thread panics with it");
        if range.start > 0 && told.elapsed() > Duration::from_secs(5) {
            *told = Instant::now();
            let seconds = self.start.elapsed().as_secs_f64();
            let all = seconds * self.len() as f64 / range.start as f64;
            eprintln!("{} training images after {seconds:.0} s of {all:.0} s; {}", range.start, memory());
        }
        self.rows.rows(range)
    }
}

/// Peak of the resident memory of this process, where Linux tells it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    format!("peak memory {}", line.trim())
}
