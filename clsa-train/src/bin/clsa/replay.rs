//! `clsa replay`.

use crate::device::{self, DeviceName};
use crate::failure::{Failure, request};
use crate::ranks::Ranks;
use crate::streams::{put, say};
use anyhow::Context;
use clap::ValueEnum;
use clsa_model::{Backend, Compute, Precision};
use clsa_train::replay::{Case, replay};
use std::path::PathBuf;

/// Replay a recorded trajectory through the training code and print it as JSON.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa replay clsa-train/tests/golden/single-r18-f64.json --precision f64 --backend portable
  mpirun -n 2 clsa replay clsa-train/tests/golden/single-r18-f64.json")]
pub struct Args {
    /// The case
    case: PathBuf,
    /// Arithmetic [default: f64 with the portable backend, f32 with the CPU kernels]
    #[arg(long)]
    precision: Option<ReplayPrecision>,
    /// Implementation of the operations
    #[arg(long, default_value = "portable")]
    backend: ReplayBackend,
    /// Batch norm over this many groups of each process's part of the batch [default: the case's groups, shared by the processes]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    bn_splits: Option<u16>,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReplayPrecision {
    F32,
    F64,
    Bf16,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ReplayBackend {
    Portable,
    Cpu,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let ranks = Ranks::join(args.device)?;
    let done = replayed(&args, &ranks);
    ranks.end(done)
}

fn replayed(args: &Args, ranks: &Ranks) -> Result<(), Failure> {
    let name = args.case.display().to_string();
    let text = std::fs::read_to_string(&args.case).map_err(|error| request(format!("{name}: {error}")))?;
    let case: Case = serde_json::from_str(&text).map_err(|error| request(format!("{name}: not a case: {error}")))?;
    ranks.set_threads(args.threads)?;
    let backend = match args.backend {
        ReplayBackend::Portable => Backend::Portable,
        ReplayBackend::Cpu => Backend::Cpu,
    };
    let precision = match args.precision {
        Some(ReplayPrecision::F32) => Precision::F32,
        Some(ReplayPrecision::F64) => Precision::F64,
        Some(ReplayPrecision::Bf16) => Precision::Bf16,
        None if backend == Backend::Portable => Precision::F64,
        None => Precision::F32,
    };
    let recorded = case.config.bn_splits;
    let bn_splits = args.bn_splits.map_or_else(|| recorded.div_ceil(ranks.count()), usize::from);
    let groups = bn_splits * ranks.count();
    if groups != recorded && ranks.is_first() {
        say!("note: {name}: recorded with batch norm over {recorded} groups of the batch, and replayed over {groups}");
    }
    let compute = Compute { backend, precision, bn_splits };
    let device = ranks.open(args.device)?;
    let trajectory = replay(&case, compute, &device, ranks.communicator()).with_context(|| name)?;
    if !ranks.is_first() {
        return Ok(());
    }
    put!("{}", serde_json::to_string_pretty(&trajectory)?)
}
