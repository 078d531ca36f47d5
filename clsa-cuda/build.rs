//! Compiles the kernels: with nvcc for GPUs (feature `cuda`), with the host's C++ compiler for tests (`host-kernels`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architectures that get machine code: Ampere, Ada, Hopper, Blackwell. It runs on GPUs of its own major number alone; GPUs
/// that are later than all of these compile the PTX when they start.
const ARCHITECTURES: [&str; 7] = ["80", "86", "89", "90", "100", "110", "120"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(reason) = compile_for_gpus()
    {
        eprintln!("error: {reason}");
        std::process::exit(1);
    }
    #[cfg(feature = "host-kernels")]
    compile_for_host();
}

/// One image with machine code for every architecture, `kernels.fatbin`.
fn compile_for_gpus() -> Result<(), String> {
    for name in ["CUDA_HOME", "CUDA_PATH", "PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let nvcc = nvcc();
    let architectures = architectures(&nvcc)?;
    let newest =
        architectures.last().ok_or_else(|| format!("{} knows none of the GPUs that are supported", nvcc.display()))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?).join("kernels.fatbin");
    let mut command = Command::new(&nvcc);
    // Products and sums are fused where the kernels say so and nowhere else.
    command.args(["--fatbin", "-O3", "-std=c++17", "--fmad=false", "-Xptxas", "-v"]);
    for architecture in &architectures {
        command.arg("-gencode").arg(format!("arch=compute_{architecture},code=sm_{architecture}"));
    }
    command.arg("-gencode").arg(format!("arch=compute_{newest},code=compute_{newest}"));
    let messages = run(command.arg("-o").arg(out).arg("kernels/kernels.cu"))?;
    match spilling(&messages) {
        Some(kernel) => Err(format!("kernel {kernel} does not fit in registers; lower its blocks per multiprocessor")),
        None => Ok(()),
    }
}

fn nvcc() -> PathBuf {
    let of = |name| env::var_os(name).map(|home| Path::new(&home).join("bin").join("nvcc"));
    ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(of).find(|nvcc| nvcc.exists()).unwrap_or_else(|| "nvcc".into())
}

/// Those of the wanted architectures that this nvcc compiles for.
fn architectures(nvcc: &Path) -> Result<Vec<&'static str>, String> {
    let listed = run(Command::new(nvcc).arg("--list-gpu-code"))?;
    let knows = |architecture: &&str| listed.split_whitespace().any(|code| code == format!("sm_{architecture}"));
    Ok(ARCHITECTURES.into_iter().filter(knows).collect())
}

/// What a command prints, both streams together.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| {
        format!(
            "the feature `cuda` needs nvcc, and {program} does not start ({e}): set CUDA_HOME to the toolkit's folder"
        )
    })?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(text) } else { Err(format!("{program} failed:\n{text}")) }
}

/// The first kernel of which ptxas says that registers went to memory.
fn spilling(messages: &str) -> Option<&str> {
    let mut kernel = "";
    for line in messages.lines() {
        if let Some((_, name)) = line.split_once("entry function '") {
            kernel = name.split('\'').next().unwrap_or(name);
        } else if line.contains("spill stores") && !line.contains(" 0 bytes spill stores, 0 bytes spill loads") {
            return Some(kernel);
        }
    }
    None
}

#[cfg(feature = "host-kernels")]
fn compile_for_host() {
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .warnings(false)
        // As nvcc's --fmad=false; and a block's memory is read as more than one type.
        .flag("-ffp-contract=off")
        .flag("-fno-strict-aliasing")
        .file("kernels/host.cpp")
        .compile("clsa_host_kernels");
}
