//! `clsa doctor`.

mod cuda_libraries;

use crate::failure::Failure;
use crate::streams::put;
use clsa_cpu::InstructionSet;
use std::process::Command;

/// Show what this machine offers, what is chosen on it, and what is missing for optional features.
#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa doctor")]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<(), Failure> {
    // Fail before printing anything.
    let kernels = InstructionSet::chosen()?;
    let row = |name: &str, value: String| put!("{name:<19}{value}");
    row("cores", std::thread::available_parallelism().map_or("unknown".to_owned(), |n| n.to_string()))?;
    row("memory", memory().unwrap_or_else(|| "unknown".to_owned()))?;
    row("CPU features", cpu_features())?;
    row("CPU kernels", format!("model {kernels}, loss {kernels}"))?;
    let gpus = lines(Command::new("nvidia-smi").args(["--query-gpu=name,memory.total", "--format=csv,noheader"]));
    row("CUDA devices", if gpus.is_empty() { "none".to_owned() } else { gpus.join("; ") })?;
    put!("\nOptional features, and what each needs here:")?;
    let feature = |name: &str, built: bool, needs: &str| {
        row(name, format!("{}; needs {needs}", if built { "in this build" } else { "not in this build" }))
    };
    feature(
        "cuda",
        cfg!(feature = "cuda"),
        "an NVIDIA GPU, and nvcc and cuDNN to build with (`cargo xtask` gets both)",
    )?;
    feature("nccl", cfg!(feature = "nccl"), "what cuda needs, and NCCL (`cargo xtask` gets it)")?;
    for library in cuda_libraries::missing() {
        row("", library)?;
    }
    feature("parquet", cfg!(feature = "parquet"), "nothing")?;
    feature("fetch", cfg!(feature = "fetch"), "the network when it runs")?;
    feature(
        "mpi",
        cfg!(feature = "mpi"),
        "Open MPI or MPICH, and libclang to build with (Debian: openmpi-bin libopenmpi-dev libclang-dev)",
    )?;
    feature("remote", cfg!(feature = "remote"), "the network when it runs, and for s3:// the credentials of AWS_*")
}

fn memory() -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = |key: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0 / 1024.0)
    };
    Some(format!("{:.1} GiB, {:.1} GiB available", value("MemTotal:")?, value("MemAvailable:")?))
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> String {
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    let found: Vec<&str> = features.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    if found.is_empty() { "none of avx2, fma, avx512".to_owned() } else { found.join(" ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> String {
    let has_neon = cfg!(target_arch = "aarch64");
    format!("{}{}", std::env::consts::ARCH, if has_neon { ", neon" } else { "" })
}

fn lines(command: &mut Command) -> Vec<String> {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}
