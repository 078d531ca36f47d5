//! How this process talks to the others, as far as that was built in.

use super::launched::Meeting;
use crate::device::DeviceName;
use crate::failure::{Failure, request};
use candle_core::Device;
use clsa_train::Communicator;
use std::sync::Arc;

/// This process among the others.
pub enum Process {
    #[cfg(feature = "mpi")]
    Mpi(clsa_train::Mpi),
    /// NCCL has nothing to be left: whoever has started the processes sees each end.
    #[cfg(feature = "nccl")]
    Nccl,
}

impl Process {
    /// Leaves the group; waits until all ranks do, where that is needed.
    pub fn leave(&self) {
        match *self {
            #[cfg(feature = "mpi")]
            Self::Mpi(ref mpi) => mpi.leave(),
            #[cfg(feature = "nccl")]
            Self::Nccl => {}
        }
    }

    /// Ends this process with an exit code, and the others, whatever they do: NCCL's by their launcher.
    #[cfg_attr(not(any(feature = "mpi", feature = "nccl")), allow(unused_variables))] // then there is no such process
    pub fn abort(&self, code: u8) -> ! {
        match *self {
            #[cfg(feature = "mpi")]
            Self::Mpi(ref mpi) => mpi.abort(code),
            #[cfg(feature = "nccl")]
            Self::Nccl => std::process::exit(i32::from(code)),
        }
    }
}

/// How tensors are exchanged, this process, and its GPU where it has one.
pub type Met = (Arc<dyn Communicator>, Process, Option<Device>);

#[cfg(feature = "mpi")]
pub fn join_mpi(_: usize) -> Result<Met, Failure> {
    let mpi = clsa_train::Mpi::join()?;
    Ok((Arc::new(mpi.clone()), Process::Mpi(mpi), None))
}

#[cfg(not(feature = "mpi"))]
pub fn join_mpi(ranks: usize) -> Result<Met, Failure> {
    let program = crate::program();
    Err(request(format!(
        "{ranks} processes were started by MPI, and this program was built without it; build it with `--features mpi`, which needs Open MPI \
         or MPICH and libclang (Debian: libopenmpi-dev, libclang-dev), see `{program} doctor`"
    )))
}

/// Joins as one of processes that meet at an address, each with a GPU of this machine.
#[cfg(feature = "nccl")]
pub fn join_nccl(name: DeviceName, ranks: usize, meeting: &Meeting) -> Result<Met, Failure> {
    use anyhow::Context;
    use std::time::Duration;

    /// Machines of a cluster do not begin at once.
    const PATIENCE: Duration = Duration::from_secs(300);
    let Meeting { rank, local_rank, address, job } = meeting;
    // A launcher that gives each process a GPU shows it no other.
    let local = if clsa_cuda::device_count()? == 1 { 0 } else { *local_rank };
    if name != DeviceName::Cuda(0) {
        return Err(request("--device: each process has a GPU of its own; use --device cuda"));
    }
    let device = crate::device::open(DeviceName::Cuda(local))?;
    let nccl =
        clsa_train::Nccl::join(&device, job, *rank, ranks, address, PATIENCE).context("the ranks do not meet")?;
    Ok((Arc::new(nccl), Process::Nccl, Some(device)))
}

#[cfg(not(feature = "nccl"))]
pub fn join_nccl(_: DeviceName, ranks: usize, _: &Meeting) -> Result<Met, Failure> {
    Err(without_nccl(ranks))
}

/// How many GPUs this process sees.
#[cfg(feature = "nccl")]
pub fn gpu_count(_: usize) -> Result<usize, Failure> {
    Ok(clsa_cuda::device_count()?)
}

#[cfg(not(feature = "nccl"))]
pub fn gpu_count(ranks: usize) -> Result<usize, Failure> {
    Err(without_nccl(ranks))
}

/// What is missing for several processes on GPUs.
#[cfg(not(feature = "nccl"))]
fn without_nccl(ranks: usize) -> Failure {
    let program = crate::program();
    request(format!(
        "{ranks} processes are to train on GPUs, and this program was built without NCCL; build it with `--features nccl`, which `cargo xtask` \
         does where it is asked for ranks on GPUs, see `{program} doctor`"
    ))
}
