//! Measurements of the code that training runs.

mod augment;
mod loader;
mod loss;
mod memory;
mod ranks;
mod step;

pub use augment::{AugmentBench, AugmentRate};
pub use loader::{LoaderBench, LoaderRate};
pub use loss::{LossBench, LossTime};
pub use ranks::{RanksBench, RanksTime};
pub use step::{StepBench, StepTime};

use crate::error::Result;
use std::time::Instant;

/// Seconds of each of `steps` calls after one that is not counted, sorted.
fn measure(steps: usize, mut call: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    call()?;
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
