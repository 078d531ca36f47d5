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
    /// Growth of the process's peak memory from before the first step.
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

/// The most memory that the process has had so far, as Linux counts it; zero on other systems.
fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|value| value.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
