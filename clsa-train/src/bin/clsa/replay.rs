//! `clsa replay`.

use crate::arguments::one_of;
use crate::device::{self, DeviceName};
use crate::failure::{Failure, request};
use crate::ranks::Ranks;
use crate::streams::{put, say};
use anyhow::Context;
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
    #[arg(long, value_parser = one_of::<Precision>(&["f32", "f64", "bf16"]))]
    precision: Option<Precision>,
    /// Implementation of the operations
    #[arg(long, default_value = "portable", value_parser = one_of::<Backend>(&["portable", "cpu"]))]
    backend: Backend,
    /// Batch norm over this many groups of each process's part of the batch [default: the case's groups, shared by the processes]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    bn_splits: Option<u16>,
    /// Threads that compute [default: one for each core, or for each of a rank's share of them]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
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
    let backend = args.backend;
    let usual = if backend == Backend::Portable { Precision::F64 } else { Precision::F32 };
    let precision = args.precision.unwrap_or(usual);
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
