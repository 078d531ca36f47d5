//! `cargo xtask check-cuda`: does everything compile with CUDA? No GPU is needed, only `nvcc`, which PyPI ships.

use crate::{cargo, code, cuda, target};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HELP: &str = "\
Check that the workspace compiles with the features cuda and cudnn.

Where no CUDA toolkit is found, nvcc's packages are installed from PyPI into a virtual environment under target/
(python3 is needed, about 1.5 GB). No GPU is needed.

Usage: cargo xtask check-cuda

Example: cargo xtask check-cuda
";

/// nvcc and the headers and libraries that Candle's kernels are compiled against.
const PACKAGES: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.*",
    "nvidia-nvvm==13.0.*",
    "nvidia-cuda-crt==13.0.*",
    "nvidia-cuda-cccl==13.0.*",
    "nvidia-cuda-runtime==13.0.*",
    "nvidia-curand==10.4.0.*",
    "nvidia-cublas==13.0.*",
    "nvidia-cuda-nvrtc==13.0.*",
];

/// Runs the command.
pub fn check(args: &[OsString]) -> Result<u8, String> {
    if !args.is_empty() {
        crate::show(HELP);
        return Ok(if args[0] == "--help" || args[0] == "-h" { 0 } else { 2 });
    }
    let toolkit = match cuda::toolkit() {
        Some(folder) => folder,
        None => install()?,
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([toolkit.join("bin")].into_iter().chain(env::split_paths(&path)));
    let mut check = cargo();
    check.args(["check", "--workspace", "--all-targets", "--features", "cuda,cudnn"]);
    check.env("PATH", path.map_err(|e| format!("PATH: {e}"))?);
    check.env("CUDA_HOME", &toolkit).env("CUDA_PATH", &toolkit);
    // Without a GPU there is nothing to ask for the capability; 8.0 is the lowest that has bf16.
    check.env("CUDA_COMPUTE_CAP", env::var_os("CUDA_COMPUTE_CAP").unwrap_or_else(|| "80".into()));
    code(&mut check)
}

/// Installs nvcc under target/ and gives the toolkit's folder.
fn install() -> Result<PathBuf, String> {
    let venv = target().join("cuda");
    let pip = venv.join("bin/pip");
    if !pip.exists() {
        eprintln!("no CUDA toolkit found; installing nvcc from PyPI into {}", venv.display());
        if code(Command::new("python3").args(["-m", "venv"]).arg(&venv))? != 0 {
            return Err("python3 -m venv failed; install python3 with venv, or a CUDA toolkit".to_owned());
        }
    }
    // Written when pip is done: an installation that was interrupted may have nvcc and lack the rest.
    let done = venv.join("installed");
    if let Some(found) = toolkit_in(&venv)
        && done.exists()
    {
        return Ok(found);
    }
    if code(Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))? != 0 {
        return Err("pip could not install nvcc's packages; check the network, or install a CUDA toolkit".to_owned());
    }
    fs::write(&done, "").map_err(|error| format!("{}: {error}", done.display()))?;
    toolkit_in(&venv).ok_or_else(|| format!("nvcc is not in {} after its installation", venv.display()))
}

fn toolkit_in(venv: &std::path::Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(venv.join("lib")).ok()?.flatten().map(|entry| entry.path());
    let mut toolkits = pythons.map(|python| python.join("site-packages/nvidia/cu13"));
    toolkits.find(|toolkit| toolkit.join("bin/nvcc").exists())
}
