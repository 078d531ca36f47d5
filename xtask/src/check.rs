//! `cargo xtask check-cuda`: does everything compile with CUDA? No GPU is needed, only `nvcc`, which PyPI ships.

use crate::{cargo, code, features, nvcc};
use std::ffi::OsString;

const HELP: &str = "\
Check that the workspace compiles with CUDA.

Where no CUDA toolkit is found, nvcc, cuDNN and NCCL are installed from PyPI into a virtual environment under target/ (python3
with venv is needed, 2.0 GB). No GPU is needed.

Usage: cargo xtask check-cuda

Example: cargo xtask check-cuda
";

/// Runs the command.
pub fn run(args: &[OsString]) -> Result<u8, String> {
    if !args.is_empty() {
        crate::show(HELP);
        return Ok(if args[0] == "--help" || args[0] == "-h" { 0 } else { 2 });
    }
    let mut check = cargo();
    check.args(["check", "--workspace", "--all-targets", "--features", features::NCCL]);
    nvcc::toolkit()?.build_with(&mut check)?;
    code(&mut check)
}
