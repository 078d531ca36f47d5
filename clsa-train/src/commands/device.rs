//! `--device` and `--threads`.

use crate::{Failure, request};
use anyhow::{Context, anyhow};
use candle_core::Device;

/// Parses `cpu` or `cuda:N` and opens the device.
pub fn open(name: &str) -> Result<Device, Failure> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let wrong = || request(anyhow!("--device {name}: use cpu or cuda:N, such as cuda:0"));
    let number = name.strip_prefix("cuda").ok_or_else(wrong)?;
    let number = if number.is_empty() { "0" } else { number.strip_prefix(':').ok_or_else(wrong)? };
    let ordinal = number.parse().map_err(|_| wrong())?;
    if !cfg!(feature = "cuda") {
        return Err(request(anyhow!(
            "--device {name}: this program was built without CUDA; `cargo xtask` builds it in where a CUDA toolkit \
             (nvcc) is found, see `cargo xtask doctor`"
        )));
    }
    Ok(Device::new_cuda(ordinal).with_context(|| format!("--device {name}"))?)
}

/// Sets the number of threads that compute, and returns it; 0 means one for each core.
pub fn set_threads(threads: usize) -> Result<usize, Failure> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
    Ok(rayon::current_num_threads())
}
