//! `clsa doctor`.

use crate::failure::Failure;
use clsa_cpu::InstructionSet;
use std::env;
use std::path::{Path, PathBuf};
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
    let row = |name: &str, value: String| println!("{name:<19}{value}");
    row("cores", std::thread::available_parallelism().map_or("unknown".to_owned(), |n| n.to_string()));
    row("memory", memory().unwrap_or_else(|| "unknown".to_owned()));
    row("CPU features", cpu_features());
    row("CPU kernels", format!("model {kernels}, loss {kernels}"));
    let toolkit = toolkit();
    let cudnn = toolkit.iter().map(|folder| folder.join("include")).chain([PathBuf::from("/usr/include")]);
    let cudnn = cudnn.into_iter().any(|folder| folder.join("cudnn.h").exists());
    let gpus = lines(Command::new("nvidia-smi").args(["--query-gpu=name,memory.total", "--format=csv,noheader"]));
    let found = |folder: &Path| format!("nvcc in {}", folder.join("bin").display());
    row("CUDA toolkit", toolkit.as_deref().map_or("not found".to_owned(), found));
    row("cuDNN", if cudnn { "cudnn.h found" } else { "not found" }.to_owned());
    row("CUDA devices", if gpus.is_empty() { "none".to_owned() } else { gpus.join("; ") });
    println!("\nOptional features, and what each needs here:");
    let feature = |name: &str, built: bool, needs: &str| {
        row(name, format!("{}; {needs}", if built { "in this build" } else { "not in this build" }));
    };
    let needs = match (&toolkit, gpus.is_empty()) {
        (None, _) => "needs a CUDA toolkit (nvcc on the PATH, or CUDA_HOME) and an NVIDIA GPU with its driver",
        (Some(_), true) => "needs an NVIDIA GPU with its driver (nvidia-smi)",
        (Some(_), false) => "nothing is missing; `--device cuda:N` builds it in",
    };
    feature("cuda", cfg!(feature = "cuda"), needs);
    let needs = if cudnn { "nothing more than cuda" } else { "needs cuDNN with its header cudnn.h" };
    feature("cudnn", cfg!(feature = "cudnn"), needs);
    feature("parquet", cfg!(feature = "parquet"), "nothing is missing; a source parquet:PATTERN builds it in");
    feature("fetch", cfg!(feature = "fetch"), "needs the network when it runs; `data fetch` builds it in");
    if toolkit.is_none() && lines(Command::new("python3").arg("--version")).is_empty() {
        println!("\n`cargo xtask check-cuda` needs python3 where there is no CUDA toolkit, and python3 was not found.");
    }
    Ok(())
}

/// The folder of the CUDA toolkit: where `CUDA_HOME`, `CUDA_PATH` or the PATH lead to `nvcc`.
fn toolkit() -> Option<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Vec<PathBuf> = env::split_paths(&path).filter_map(|bin| bin.parent().map(PathBuf::from)).collect();
    named.chain(found).find(|folder| folder.join("bin/nvcc").exists())
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
