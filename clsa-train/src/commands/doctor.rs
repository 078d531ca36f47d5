//! `cargo xtask doctor`.

use crate::{Failure, request};
use anyhow::anyhow;
use clsa_model::kernels::Isa;
use std::process::Command;

/// Show what this machine offers, what is chosen on it, and what is missing for optional features.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cargo xtask doctor")]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> Result<(), Failure> {
    let row = |name: &str, value: String| println!("{name:<18}{value}");
    row("cores", std::thread::available_parallelism().map_or("unknown".to_owned(), |n| n.to_string()));
    row("memory", memory().unwrap_or_else(|| "unknown".to_owned()));
    row("CPU features", cpu_features());
    let model =
        Isa::chosen().map_err(|value| request(anyhow!("CLSA_KERNELS is {value}: use avx512, avx2 or scalar")))?;
    row("CPU kernels", format!("model {model:?}, loss {}", clsa_loss::cpu_kernels().map_err(request)?));
    let nvcc = first_line(Command::new("nvcc").arg("--version")).is_some();
    let gpus = lines(Command::new("nvidia-smi").args(["--query-gpu=name,memory.total", "--format=csv,noheader"]));
    row("CUDA in this build", if cfg!(feature = "cuda") { "yes" } else { "no" }.to_owned());
    row("CUDA toolkit", if nvcc { "nvcc found" } else { "not found" }.to_owned());
    row("CUDA devices", if gpus.is_empty() { "none".to_owned() } else { gpus.join("; ") });
    println!();
    if gpus.is_empty() {
        println!("--device cuda:N needs an NVIDIA GPU and its driver (nvidia-smi).");
    }
    if !nvcc {
        println!("Building with CUDA needs a CUDA toolkit: put nvcc on the PATH or set CUDA_HOME.");
        println!("`cargo xtask check-cuda` checks the build with nvcc from PyPI and needs python3.");
    }
    if first_line(Command::new("python3").arg("--version")).is_none() {
        println!("`cargo xtask check-cuda` without a toolkit needs python3, which was not found.");
    }
    Ok(())
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
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    let found: Vec<&str> = features.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    if found.is_empty() { "none of avx2, fma, avx512".to_owned() } else { found.join(" ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> String {
    format!("{} (the portable kernels are used)", std::env::consts::ARCH)
}

fn lines(command: &mut Command) -> Vec<String> {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn first_line(command: &mut Command) -> Option<String> {
    lines(command).into_iter().next()
}
