//! Time and peak memory of k-NN on synthetic features, cached on disk as an evaluation does it.
//!
//! ```sh
//! cargo run --release -p clsa-eval --example knn_scale
//! ```
//!
//! For the size of ImageNet and ResNet-50 set [`TRAIN`], [`TEST`] and [`DIM`] to 1,281,167, 50,000 and 2048. Its 10.5 GB of
//! training features are written to a folder under the current one first, and removed at the end.

use clsa_eval::features::{FeatureFile, FeatureRows, FeatureShape, Labeled};
use clsa_eval::protocols::{KnnConfig, knn};
use clsa_eval::{EvalError, Silent};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Training images.
const TRAIN: usize = 100_000;
/// Test images.
const TEST: usize = 10_000;
/// Length of a feature vector.
const DIM: usize = 128;
const CLASSES: u32 = 1000;
const BLOCK: usize = 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(".")?;
    let (train, test) = (synthetic(folder.path(), 0, TRAIN)?, synthetic(folder.path(), 1, TEST)?);
    let labels = |rows: &FeatureFile| (0..rows.len() as u32).map(|row| row % CLASSES).collect::<Vec<_>>();
    let (train_labels, test_labels) = (labels(&train), labels(&test));
    println!("{TRAIN} x {TEST} images, {DIM} dimensions; {} before", memory());
    let start = Instant::now();
    let train = ReportingRows { rows: &train, start, reported: Mutex::new(start) };
    let train = Labeled { rows: &train, labels: &train_labels };
    let result = knn(train, Labeled { rows: &test, labels: &test_labels }, &KnnConfig::default())?;
    println!("{:.1} s, {}; top-1 {:.2} %", start.elapsed().as_secs_f64(), memory(), result.top1);
    Ok(())
}

/// Uniform values, moved a little by one value for each class.
fn synthetic(folder: &Path, seed: u64, rows: usize) -> Result<FeatureFile, EvalError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let shape = FeatureShape { rows, dim: DIM, block: rows };
    FeatureFile::open_or_make(
        folder,
        &format!("synthetic {seed}"),
        shape,
        (("features", "rows"), &Silent),
        |_, sink| {
            for start in (0..rows).step_by(BLOCK) {
                let mut block = Vec::with_capacity(BLOCK * DIM);
                for row in start..(start + BLOCK).min(rows) {
                    let at = row % CLASSES as usize % DIM;
                    block.extend((0..DIM).map(|d| random.random_range(-1.0f32..1.0) + if d == at { 2.0 } else { 0.0 }));
                }
                sink(&block)?;
            }
            Ok(())
        },
    )
}

/// Features that say now and then how far they have been read.
struct ReportingRows<'a> {
    rows: &'a FeatureFile,
    start: Instant,
    reported: Mutex<Instant>,
}

impl FeatureRows for ReportingRows<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn rows(&self, range: Range<usize>) -> Result<Cow<'_, [f32]>, EvalError> {
        let mut reported = self.reported.lock().expect("no thread panics with it");
        if range.start > 0 && reported.elapsed() > Duration::from_secs(5) {
            *reported = Instant::now();
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
