//! Several processes that train together: which of them this one is, as their launcher says, and how all of them end.

use crate::device::DeviceName;
use crate::failure::{Failure, request};
use crate::streams::{be_quiet, say_always};
use clsa_train::{Communicator, SingleProcess, TrainError, gather_bytes};
use std::cell::Cell;
use std::sync::Arc;

/// This process as its launcher has started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    launcher: Launcher,
    /// How many processes there are.
    ranks: usize,
    /// How many of them are on this machine.
    on_machine: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launcher {
    /// `mpirun`, `mpiexec`, or `srun` with a plug-in for MPI.
    Mpi,
    /// `torchrun`, or what sets the same variables.
    Torchrun,
}

impl Launched {
    /// What the environment says; none where this is the only process.
    pub fn from_environment() -> Option<Self> {
        Self::from_variables(&|name| std::env::var(name).ok()?.parse().ok())
    }

    fn from_variables(number: &dyn Fn(&str) -> Option<usize>) -> Option<Self> {
        // Open MPI; MPICH and srun's PMI2; srun's PMIx.
        let of_step = || number("SLURM_STEP_NUM_TASKS").or_else(|| number("SLURM_NTASKS"));
        let with_pmix = || number("PMIX_RANK").and_then(|_| of_step());
        let mpi = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or_else(with_pmix);
        let torchrun = number("RANK").and_then(|_| number("WORLD_SIZE"));
        let on_machine = number("OMPI_COMM_WORLD_LOCAL_SIZE")
            .or_else(|| number("MPI_LOCALNRANKS"))
            .or_else(|| number("LOCAL_WORLD_SIZE"));
        let launched = |launcher| {
            move |ranks: usize| {
                // Who does not say how many are on a machine may have started all of them there, or one.
                (ranks > 1).then_some(Self { launcher, ranks, on_machine: on_machine.unwrap_or(1).max(1) })
            }
        };
        mpi.and_then(launched(Launcher::Mpi)).or_else(|| torchrun.and_then(launched(Launcher::Torchrun)))
    }

    /// Refuses a command that several processes would each do alone.
    pub fn refuse(self, command: &str) -> Failure {
        let ranks = self.ranks;
        request(format!(
            "{command}: it was started {ranks} times by a launcher, and only `pretrain` shares its work among processes; start it once, \
             without the launcher"
        ))
    }
}

/// The processes that train together, of which this is one.
pub struct Ranks {
    communicator: Arc<dyn Communicator>,
    /// How this process has come to the others; none where it is alone.
    joined: Option<(Launched, Process)>,
    /// Whether all have been told that one has failed.
    all_know: Cell<bool>,
}

impl Ranks {
    /// Joins the others, where a launcher has started several. From then on only the first prints how the work goes.
    pub fn join(device: DeviceName) -> Result<Self, Failure> {
        let Some(launched) = Launched::from_environment() else {
            return Ok(Self { communicator: Arc::new(SingleProcess), joined: None, all_know: Cell::new(false) });
        };
        let ranks = launched.ranks;
        let (communicator, process) = match (launched.launcher, device) {
            (Launcher::Mpi, DeviceName::Cpu) => join_mpi(ranks)?,
            (Launcher::Mpi, DeviceName::Cuda(_)) => {
                return Err(request("--device: MPI is for CPUs, and this program does not share work among GPUs"));
            }
            (Launcher::Torchrun, _) => {
                return Err(request(format!(
                    "RANK and WORLD_SIZE say that there are {ranks} processes, and this program shares work only among those that MPI has \
                     started: use `mpirun -n {ranks}`, or unset the two for one process"
                )));
            }
        };
        if !communicator.is_first() {
            be_quiet();
        }
        let found = communicator.world_size();
        let joined = Self { communicator, joined: Some((launched, process)), all_know: Cell::new(false) };
        if found == ranks {
            return Ok(joined);
        }
        let reason = format!(
            "the launcher has started {ranks} processes, of which {found} have found each other; use the mpirun of the MPI library that this \
             program was built with"
        );
        joined.end(Err(request(reason)))?;
        Ok(joined)
    }

    /// How tensors are exchanged.
    pub fn communicator(&self) -> Arc<dyn Communicator> {
        Arc::clone(&self.communicator)
    }

    /// Whether this process does what only one of them does.
    pub fn is_first(&self) -> bool {
        self.communicator.is_first()
    }

    /// The number of this process, where it is not the first.
    pub fn other(&self) -> Option<usize> {
        Some(self.communicator.rank()).filter(|_| !self.is_first())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.communicator.world_size()
    }

    /// How many threads each computes with where nobody says: 0, one for each core, or the share of the cores of its machine.
    pub fn default_threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // A launcher that binds processes to cores has shared them out already.
        let all = all_cores().unwrap_or(cores);
        self.joined.as_ref().map_or(0, |(launched, _)| cores.min((all / launched.on_machine).max(1)))
    }

    /// The result of this process if all have one. If not, all have the error of the first that failed.
    pub fn agree<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if self.count() == 1 {
            return result;
        }
        let told = match &result {
            Ok(_) => Vec::new(),
            Err(failure) => [&[failure.exit_code()], failure.sentence().as_bytes()].concat(),
        };
        let all = gather_bytes(&*self.communicator, &told)?;
        let Some(rank) = all.iter().position(|told| !told.is_empty()) else { return result };
        self.all_know.set(true);
        match result {
            // What is wrong everywhere is not said to be wrong on one of them.
            Err(failure) if all.iter().all(|told| told == &all[0]) => Err(failure),
            _ => {
                let reason = String::from_utf8_lossy(&all[rank][1..]).into_owned();
                Err(TrainError::OnRank { rank, reason, is_request: all[rank][0] == 2, is_of_store: false }.into())
            }
        }
    }

    /// What the first process has, on all of them.
    pub fn told_by_first(&self, own: &[u8]) -> Result<Vec<u8>, Failure> {
        let own = if self.is_first() { own } else { &[] };
        Ok(gather_bytes(&*self.communicator, own)?.swap_remove(0))
    }

    /// Ends this process's part. An error that all know is said by the first; one that only this process knows is said by it, and ends
    /// the others.
    pub fn end(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        let Some((_, process)) = &self.joined else { return result };
        match &result {
            Err(failure) if !self.all_know.get() && !failure.is_of_all_ranks() => {
                say_always(format_args!("error: rank {}: {}", self.communicator.rank(), failure.sentence()));
                process.abort(failure.exit_code())
            }
            Ok(()) | Err(_) => process.leave(),
        }
        result
    }
}

#[cfg(feature = "mpi")]
use clsa_train::Mpi as Process;

#[cfg(feature = "mpi")]
fn join_mpi(_: usize) -> Result<(Arc<dyn Communicator>, Process), Failure> {
    let mpi = Process::join()?;
    Ok((Arc::new(mpi.clone()), mpi))
}

/// There are no processes that have joined others.
#[cfg(not(feature = "mpi"))]
enum Process {}

#[cfg(not(feature = "mpi"))]
impl Process {
    fn leave(&self) {
        match *self {}
    }

    fn abort(&self, _: u8) -> ! {
        match *self {}
    }
}

#[cfg(not(feature = "mpi"))]
fn join_mpi(ranks: usize) -> Result<(Arc<dyn Communicator>, Process), Failure> {
    let program = crate::program();
    Err(request(format!(
        "{ranks} processes were started by MPI, and this program was built without it; build it with `--features mpi`, which needs Open MPI \
         or MPICH and libclang (Debian: libopenmpi-dev, libclang-dev), see `{program} doctor`"
    )))
}

/// Cores of this machine, whatever this process may use of them.
#[cfg(unix)]
#[allow(unsafe_code)] // the standard library knows only those that this process may use
fn all_cores() -> Option<usize> {
    // SAFETY: the call reads a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).ok()
}

#[cfg(not(unix))]
fn all_cores() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(variables: &[(&str, usize)]) -> Option<Launched> {
        Launched::from_variables(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, number)| *number))
    }

    #[test]
    fn a_launcher_says_how_many_processes_there_are() {
        let mpi = |ranks, on_machine| Some(Launched { launcher: Launcher::Mpi, ranks, on_machine });
        assert_eq!(launched(&[("OMPI_COMM_WORLD_SIZE", 4), ("OMPI_COMM_WORLD_LOCAL_SIZE", 2)]), mpi(4, 2));
        assert_eq!(launched(&[("PMI_SIZE", 3), ("MPI_LOCALNRANKS", 3)]), mpi(3, 3));
        assert_eq!(launched(&[("PMIX_RANK", 0), ("SLURM_NTASKS", 2)]), mpi(2, 1));
        assert_eq!(launched(&[("PMIX_RANK", 0), ("SLURM_NTASKS", 8), ("SLURM_STEP_NUM_TASKS", 2)]), mpi(2, 1));
        let torchrun = launched(&[("RANK", 1), ("WORLD_SIZE", 8), ("LOCAL_WORLD_SIZE", 8)]);
        assert_eq!(torchrun, Some(Launched { launcher: Launcher::Torchrun, ranks: 8, on_machine: 8 }));
    }

    #[test]
    fn one_process_is_alone_and_so_is_a_program_in_a_job_that_has_tasks_to_give() {
        assert_eq!(launched(&[]), None);
        assert_eq!(launched(&[("OMPI_COMM_WORLD_SIZE", 1)]), None);
        assert_eq!(launched(&[("SLURM_NTASKS", 8), ("SLURM_PROCID", 0)]), None);
        assert_eq!(launched(&[("WORLD_SIZE", 8)]), None);
    }
}
