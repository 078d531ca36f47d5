//! `--device`, `--threads` and the environment variable `CLSA_KERNELS`.

use crate::{Failure, request};
use anyhow::{Context, anyhow};
use candle_core::Device;
use clsa_model::kernels::Isa;

/// The CPU kernels of the model and of the loss that `CLSA_KERNELS` chooses.
pub fn kernels() -> Result<(Isa, String), Failure> {
    let model = Isa::chosen().map_err(|value| request(anyhow!("CLSA_KERNELS is {value}: {}", Isa::EXPECTED)))?;
    Ok((model, clsa_loss::cpu_kernels().map_err(request)?))
}

/// Parses `cpu` or `cuda:N` and opens the device. A wrong `CLSA_KERNELS` is refused here, before anything is made.
pub fn open(name: &str) -> Result<Device, Failure> {
    kernels()?;
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
