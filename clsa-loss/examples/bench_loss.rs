//! Times the loss, forward and backward, on random views: one line of JSON.
//!
//!     cargo run --release -p clsa-loss --example bench_loss -- --batch 32 --weak 5 --strong 5 --bank 65536 --dim 128

use std::collections::HashMap;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, Implementation, MemoryBank};

const USAGE: &str =
    "usage: bench_loss [--batch N] [--weak W] [--strong S] [--bank K] [--dim D] [--threads T] [--repeat R]
                  [--precision f32|bf16] [--implementation cpu|portable] [--json]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = HashMap::from([
        ("--batch", 32),
        ("--weak", 5),
        ("--strong", 5),
        ("--bank", 65536),
        ("--dim", 128),
        ("--threads", 2),
        ("--repeat", 5),
    ]);
    let mut precision = "f32".to_string();
    let mut implementation = "cpu".to_string();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--json" {
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match (name.as_str(), numbers.get_mut(name.as_str())) {
            (_, Some(number)) => *number = value.parse().map_err(|_| USAGE)?,
            ("--precision", None) => precision = value,
            ("--implementation", None) => implementation = value,
            _ => return Err(USAGE.into()),
        }
    }
    let [batch, weak, strong, k, dim] = ["--batch", "--weak", "--strong", "--bank", "--dim"].map(|name| numbers[name]);
    let dtype = match precision.as_str() {
        "f32" => DType::F32,
        "bf16" => DType::BF16,
        _ => return Err(USAGE.into()),
    };
    let loss = ClsaLoss {
        implementation: match implementation.as_str() {
            "cpu" => Implementation::Cpu,
            "portable" => Implementation::Portable,
            _ => return Err(USAGE.into()),
        },
        ..ClsaLoss::default()
    };
    rayon::ThreadPoolBuilder::new().num_threads(numbers["--threads"]).build_global()?;

    let unit = |count: usize, seed: u64| MemoryBank::random(count, dim, seed, DType::F32, &Device::Cpu);
    let bank = MemoryBank::random(k, dim, 0, dtype, &Device::Cpu)?;
    let keys = unit(batch, 1)?.rows().clone();
    let views = |count: usize, seed: u64| -> Result<Vec<Tensor>, Box<dyn std::error::Error>> {
        (0..count).map(|i| Ok(Var::from_tensor(unit(batch, seed + i as u64)?.rows())?.as_tensor().clone())).collect()
    };
    let (weak_views, strong_views) = (views(weak, 100)?, views(strong, 200)?);
    let candidates = Candidates { keys: &keys, bank: Some(&bank), first_positive: 0 };
    let before = peak_rss_mb();
    let step = || -> Result<f64, Box<dyn std::error::Error>> {
        let start = Instant::now();
        let output = loss.forward(&weak_views, &strong_views, &candidates)?;
        output.loss.backward()?;
        Ok(start.elapsed().as_secs_f64())
    };
    step()?;
    let mut times = (0..numbers["--repeat"]).map(|_| step()).collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    // Two matrix products of (W + S) N rows with the candidates, a multiplication and an addition each.
    let gflop = 4e-9 * ((weak + strong) * batch * (batch + k) * dim) as f64;
    println!(
        "{{\"work\": \"loss\", \"implementation\": \"{implementation}\", \"precision\": \"{precision}\", \"batch\": {batch}, \
         \"weak\": {weak}, \"strong\": {strong}, \"bank\": {k}, \"median_s\": {median}, \"min_s\": {}, \
         \"gflop_per_s\": {}, \"extra_peak_mb\": {}}}",
        times[0],
        gflop / median,
        peak_rss_mb() - before,
    );
    Ok(())
}

/// The most memory that the process has had so far, as Linux counts it; zero on other systems.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|value| value.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
