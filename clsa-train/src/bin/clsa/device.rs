//! `--device` and `--threads`: where and with how many threads a command computes.

use crate::failure::{Failure, request};
use anyhow::Context;
use candle_core::Device;
#[cfg(feature = "cuda")]
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// A device as the command line names it: `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    Cpu,
    /// The GPU of this number, 0-based.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let wrong = "use cpu, cuda or cuda:N, such as cuda:0";
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Self::Cuda).map_err(|_| wrong),
            _ => Err(wrong),
        }
    }
}

/// The options that say where a command computes.
#[derive(clap::Args)]
pub struct ComputeArgs {
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = thread_count)]
    threads: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

impl ComputeArgs {
    /// Opens the device and sets the number of threads.
    pub fn open(&self) -> Result<Device, Failure> {
        let device = open(self.device)?;
        set_threads(self.threads)?;
        Ok(device)
    }
}

/// Opens the device. A wrong `CLSA_KERNELS` is refused here, before anything is made.
pub fn open(name: DeviceName) -> Result<Device, Failure> {
    clsa_cpu::InstructionSet::chosen()?;
    match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(number) => open_gpu(number),
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(number: usize) -> Result<Device, Failure> {
    /// A GPU has one stream, its kernels and plans for all trainings of a process.
    static OPENED: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());

    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = opened.get(&number) {
        return Ok(device.clone());
    }
    let gpus = clsa_cuda::device_count().with_context(|| format!("--device cuda:{number}"))?;
    if number >= gpus {
        return Err(request(format!("--device cuda:{number}: GPUs that are seen here, counted from 0: {gpus}")));
    }
    let device = clsa_cuda::open(number).with_context(|| format!("--device cuda:{number}"))?;
    opened.insert(number, device.clone());
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(number: usize) -> Result<Device, Failure> {
    Err(request(format!(
        "--device cuda:{number}: this program was built without CUDA; build it with `--features cuda`, which `cargo \
         xtask` does where there is an NVIDIA driver, see `{} doctor`",
        crate::program()
    )))
}

/// Most threads that can be asked for: more than any machine has cores.
const MOST_THREADS: usize = 1024;

/// A number of threads as the command line has it.
pub fn thread_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&threads| threads <= MOST_THREADS)
        .ok_or_else(|| format!("use a number up to {MOST_THREADS}"))
}

/// Sets the number of threads that compute, and returns it; 0 means one for each core. A command that this program runs for another one
/// keeps the number of that.
pub fn set_threads(threads: usize) -> Result<usize, Failure> {
    static IS_SET: Mutex<bool> = Mutex::new(false);

    let mut is_set = IS_SET.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_set {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")?;
        *is_set = true;
    }
    Ok(rayon::current_num_threads())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_a_number_that_a_machine_can_have() {
        assert_eq!((thread_count("0"), thread_count("1024")), (Ok(0), Ok(1024)));
        for wrong in ["1025", "100000", "-1", "two", "99999999999999999999"] {
            assert!(thread_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gpu_has_a_number_and_the_first_needs_none() {
        assert_eq!("cpu".parse(), Ok(DeviceName::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceName::Cuda(3)));
        for wrong in ["", "tpu", "cuda:", "cuda:x", "cuda0", "cpu:0"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
