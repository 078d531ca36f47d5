//! Prints how long a ResNet-50's forward pass in evaluation mode takes on the CPU kernels: the median of several runs.
//!
//!     cargo run --release -p clsa-model --example forward -- [BATCH] [SIDE]
//!
//! BATCH is 8 and SIDE, that of the images, 224 unless given. `RAYON_NUM_THREADS` and `CLSA_KERNELS` apply.

use candle_core::{Device, Tensor};
use clsa_model::{Compute, Encoder, ModelConfig};
use std::time::Instant;

/// Measured runs, after one that is not.
const RUNS: usize = 7;

fn argument(i: usize, default: usize) -> usize {
    match std::env::args().nth(i) {
        None => default,
        Some(text) => match text.parse() {
            Ok(n) if n > 0 => n,
            _ => {
                eprintln!("{text:?} is not a positive number: give BATCH and SIDE");
                std::process::exit(2);
            }
        },
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (batch, side) = (argument(1, 8), argument(2, 224));
    let encoder = Encoder::new(&ModelConfig::default(), Compute::default(), 0, &Device::Cpu)?;
    // Channels-last in memory, as the loader makes them.
    let images = Tensor::randn(0f32, 1f32, (batch, side, side, 3), &Device::Cpu)?.permute((0, 3, 1, 2))?;
    encoder.features(&images)?;
    let mut seconds = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        encoder.features(&images)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!("batch {batch}, {side}x{side}: median {:.4} s, shortest {:.4} s", seconds[RUNS / 2], seconds[0]);
    Ok(())
}
