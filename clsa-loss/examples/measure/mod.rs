//! Time of the loss, forward and backward, on random views.

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::{Candidates, ClsaLoss, LossError, MemoryBank};

/// What is measured.
pub struct Work {
    pub batch: usize,
    pub weak: usize,
    pub strong: usize,
    pub bank: usize,
    pub dim: usize,
    /// Of the bank; views are F32.
    pub precision: DType,
    pub loss: ClsaLoss,
}

/// What it took.
pub struct Measured {
    /// Seconds of each repetition, shortest first.
    pub seconds: Vec<f64>,
    /// The process's peak memory during the steps, less what it had before the first.
    #[allow(dead_code)] // Of one example.
    pub extra_peak_mb: f64,
}

impl Work {
    /// One step that is not counted, then `repeat` steps.
    pub fn measure(&self, repeat: usize) -> Result<Measured, LossError> {
        let unit = |rows: usize, seed: u64| MemoryBank::random(rows, self.dim, seed, DType::F32, &Device::Cpu);
        let bank = MemoryBank::random(self.bank, self.dim, 0, self.precision, &Device::Cpu)?;
        let keys = unit(self.batch, 1)?.rows().clone();
        let views = |count: usize, seed: u64| -> Result<Vec<Tensor>, LossError> {
            (0..count)
                .map(|i| Ok(Var::from_tensor(unit(self.batch, seed + i as u64)?.rows())?.as_tensor().clone()))
                .collect()
        };
        let (weak, strong) = (views(self.weak, 100)?, views(self.strong, 200)?);
        let candidates = Candidates { keys: &keys, bank: Some(&bank), first_positive: 0 };
        reset_peak_memory();
        let before = peak_memory_mb();
        let step = || -> Result<f64, LossError> {
            let start = Instant::now();
            self.loss.forward(&weak, &strong, candidates)?.loss.backward()?;
            Ok(start.elapsed().as_secs_f64())
        };
        step()?;
        let mut seconds = (0..repeat).map(|_| step()).collect::<Result<Vec<_>, _>>()?;
        seconds.sort_by(f64::total_cmp);
        Ok(Measured { seconds, extra_peak_mb: peak_memory_mb() - before })
    }

    /// Operations of the two matrix products of all rows with all candidates, a multiplication and an addition each.
    pub fn gflop(&self) -> f64 {
        4e-9 * ((self.weak + self.strong) * self.batch * (self.batch + self.bank) * self.dim) as f64
    }
}

impl Measured {
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }
}

/// GFLOP/s of Candle's product of square f32 matrices, which is the `gemm` crate's: the fastest of five.
#[allow(dead_code)] // Of one example.
pub fn matrix_product_rate() -> candle_core::Result<f64> {
    const N: usize = 1536;
    let matrix = Tensor::rand(-1f32, 1f32, (N, N), &Device::Cpu)?;
    let mut seconds = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        matrix.matmul(&matrix)?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    Ok(2e-9 * (N * N * N) as f64 / seconds)
}

/// Makes the peak what the process has now, so that building the bank is not counted. Where the system refuses, the peak
/// stays that since the start.
fn reset_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that the process has had so far, as Linux counts it; zero on other systems.
fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|value| value.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
