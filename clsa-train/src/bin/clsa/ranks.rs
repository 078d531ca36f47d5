//! Several processes that train together: how they meet, and how all of them end.

mod launched;
mod local;
mod process;

use crate::device::{self, DeviceName};
use crate::failure::{Failure, request};
use crate::streams::{be_quiet, say, say_always};
use candle_core::Device;
use clsa_train::{Communicator, SingleProcess, TrainError, gather_bytes};
pub use launched::Launched;
use launched::Launcher;
pub use local::start_on_gpus;
use process::{Process, join_mpi, join_nccl};
use std::cell::Cell;
use std::sync::Arc;

/// The processes that train together, of which this is one.
pub struct Ranks {
    communicator: Arc<dyn Communicator>,
    /// How this process has come to the others; none where it is alone.
    joined: Option<Joined>,
    /// Whether all have been told that one has failed.
    all_know: Cell<bool>,
}

struct Joined {
    launched: Launched,
    process: Process,
    device: Option<Device>,
}

impl Ranks {
    /// Joins the others, where a launcher has started several. From then on only the first prints how the work goes.
    pub fn join(name: DeviceName) -> Result<Self, Failure> {
        let on_gpu = name != DeviceName::Cpu;
        let Some(launched) = Launched::read(on_gpu)? else {
            return Ok(Self { communicator: Arc::new(SingleProcess), joined: None, all_know: Cell::new(false) });
        };
        let ranks = launched.ranks;
        let (communicator, process, device) = match &launched.launcher {
            Launcher::Mpi if on_gpu => {
                return Err(request(
                    "--device: MPI is for CPUs; processes on GPUs are started by `--ranks`, torchrun or srun",
                ));
            }
            Launcher::Mpi => join_mpi(ranks)?,
            Launcher::Meeting(meeting) if on_gpu => join_nccl(name, ranks, meeting)?,
            Launcher::Meeting(_) => {
                return Err(request(format!(
                    "a launcher has started {ranks} processes (RANK and WORLD_SIZE, or SLURM's variables), which on CPUs talk through MPI: use \
                     `mpirun -n {ranks} --bind-to none`, or `srun --mpi=pmix`; for one process start it without the launcher"
                )));
            }
        };
        if !communicator.is_first() {
            be_quiet();
        }
        let found = communicator.world_size();
        let joined = Some(Joined { launched, process, device });
        let joined = Self { communicator, joined, all_know: Cell::new(false) };
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

    /// Opens the device, which is this process's GPU where each has one.
    pub fn open(&self, name: DeviceName) -> Result<Device, Failure> {
        match self.joined.as_ref().and_then(|joined| joined.device.as_ref()) {
            Some(device) => Ok(device.clone()),
            None => device::open(name),
        }
    }

    /// Sets the number of threads that compute, and returns it; 0 means one for each core, or for each of this process's share of them. Says
    /// where this process may use fewer cores than that.
    pub fn set_threads(&self, threads: usize) -> Result<usize, Failure> {
        let Some(Joined { launched, .. }) = &self.joined else { return device::set_threads(threads) };
        let Threads { count, note } = Cores::of_this_process().threads(threads, launched.on_machine);
        if let Some(note) = note {
            say!("note: {note}");
        }
        device::set_threads(count)
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
                let is_request = all[rank][0] == 2;
                // These say how a training can go on, and none has begun.
                let (is_of_store, is_of_images, is_divergence) = (false, false, false);
                Err(TrainError::OnRank { rank, reason, is_request, is_of_store, is_of_images, is_divergence }.into())
            }
        }
    }

    /// What the first process has, on all of them; where it has none, all have its error.
    pub fn told_by_first(&self, own: Result<Vec<u8>, Failure>) -> Result<Vec<u8>, Failure> {
        // Before the exchange: one that failed alone would leave the others in it.
        let own = self.agree(own)?;
        let own = if self.is_first() { own } else { Vec::new() };
        Ok(gather_bytes(&*self.communicator, &own)?.swap_remove(0))
    }

    /// Ends this process's part; where it has failed as one of several, it ends here. An error that all know is said by the first; one that
    /// only this process knows is said by it, and ends the others.
    pub fn end(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        let Some(Joined { process, .. }) = &self.joined else { return result };
        let Err(failure) = result else {
            process.leave();
            return Ok(());
        };
        // A launcher ends all processes as soon as one has ended with a failure: before any leaves, the sentence has been said.
        if self.all_know.get() || failure.is_of_all_ranks() {
            say!("error: {}", failure.sentence());
            process.leave();
            std::process::exit(failure.exit_code().into())
        }
        say_always(format_args!("error: rank {}: {}", self.communicator.rank(), failure.sentence()));
        process.abort(failure.exit_code())
    }
}

/// Numbers of cores.
#[derive(Clone, Copy)]
struct Cores {
    /// That this process may use at a time.
    usable: usize,
    /// That it may run on, some of which may be off.
    bound: usize,
    /// Of this machine.
    online: usize,
}

impl Cores {
    fn of_this_process() -> Self {
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        // Files of Linux, which say the same with every C library. Elsewhere neither a quota nor what a launcher has bound is known.
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let bound = bound_cores(&read("/proc/self/status")).unwrap_or(usable);
        let online = cores_in(&read("/sys/devices/system/cpu/online")).unwrap_or(usable);
        Self { usable, bound, online }
    }

    /// How many cores are the share of each of several processes of a machine, of which this one may not be able to use all.
    fn share(self, processes: usize) -> usize {
        let Self { usable, bound, online } = self;
        // A quota of time, as containers have, is of all together; a launcher that binds processes to cores has shared those out already.
        let is_quota = usable < bound.min(online);
        let all = if is_quota { usable } else { online };
        (all / processes).max(1)
    }

    /// With how many threads this one of several processes of a machine computes, where so many are asked for; 0: as its share is.
    fn threads(self, asked: usize, processes: usize) -> Threads {
        let Self { usable, online, .. } = self;
        let share = self.share(processes);
        let wanted = if asked == 0 { share } else { asked.min(share) };
        let cores = if usable == 1 { "one core".to_owned() } else { format!("{usable} cores") };
        let note = (usable < wanted).then(|| {
            format!(
                "this rank may use {cores} of {online}, fewer than the {wanted} of its share; if its launcher has bound it, start the ranks by \
                 `mpirun --bind-to none`, or by srun with more --cpus-per-task"
            )
        });
        Threads { count: if asked == 0 { share.min(usable) } else { asked }, note }
    }
}

/// Threads that compute.
struct Threads {
    count: usize,
    /// What is to be said of them.
    note: Option<String>,
}

/// On how many cores a process may run, as its status says.
fn bound_cores(status: &str) -> Option<usize> {
    cores_in(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// How many numbers a list such as `0-3,8,10-11` has.
fn cores_in(list: &str) -> Option<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.trim().split(',').map(range).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Tensor;
    use clsa_train::PendingMean;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// One of two ranks that are threads of this process. Where one goes, the other's next exchange panics, and waits for nobody.
    struct OneOfTwo {
        rank: usize,
        to_other: Sender<Tensor>,
        from_other: Mutex<Receiver<Tensor>>,
    }

    impl Communicator for OneOfTwo {
        fn rank(&self) -> usize {
            self.rank
        }

        fn world_size(&self) -> usize {
            2
        }

        fn all_gather(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
            self.to_other.send(tensor.clone()).unwrap();
            let other = self.from_other.lock().unwrap().recv().unwrap();
            if self.rank == 0 { Tensor::cat(&[tensor, &other], 0) } else { Tensor::cat(&[&other, tensor], 0) }
        }

        fn begin_mean(&self, values: Tensor) -> candle_core::Result<PendingMean> {
            Ok(PendingMean::new(move || Ok(values)))
        }
    }

    /// What each of two ranks comes to.
    fn on_two<T: Send + 'static>(work: fn(&Ranks) -> T) -> [T; 2] {
        let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
        let ends = [(to_second, from_second), (to_first, from_first)].into_iter().enumerate();
        let started: Vec<_> = ends
            .map(|(rank, (to_other, from_other))| {
                let one = OneOfTwo { rank, to_other, from_other: Mutex::new(from_other) };
                std::thread::spawn(move || {
                    work(&Ranks { communicator: Arc::new(one), joined: None, all_know: Cell::new(false) })
                })
            })
            .collect();
        let mut done = started.into_iter().map(|rank| rank.join().unwrap());
        [done.next().unwrap(), done.next().unwrap()]
    }

    #[test]
    fn what_the_first_rank_cannot_tell_is_an_error_of_both_and_none_waits() {
        let told = |ranks: &Ranks| ranks.told_by_first(Ok(vec![1 + ranks.communicator.rank() as u8; 3])).unwrap();
        assert_eq!(on_two(told), [vec![1u8; 3], vec![1u8; 3]]);
        let refused = |ranks: &Ranks| {
            let own = if ranks.is_first() { Err(request("no such path")) } else { Ok(Vec::new()) };
            let failure = ranks.agree(ranks.told_by_first(own)).unwrap_err();
            (failure.exit_code(), failure.sentence(), ranks.all_know.get())
        };
        let expected = || (2u8, "rank 0: no such path".to_owned(), true);
        assert_eq!(on_two(refused), [expected(), expected()]);
    }

    #[test]
    fn a_share_is_of_the_machine_where_processes_are_bound_and_of_the_quota_where_there_is_one() {
        let shares = |usable, bound, online| Cores { usable, bound, online }.share(4);
        assert_eq!(shares(16, 16, 16), 4);
        assert_eq!(shares(4, 4, 16), 4, "bound to a part of the cores");
        assert_eq!(shares(2, 2, 16), 4, "bound to fewer than a share");
        assert_eq!(shares(4, 64, 64), 1, "a quota of four cores");
        assert_eq!(shares(8, 16, 64), 2, "a quota of eight cores, and bound to more");
        assert_eq!(shares(16, 128, 16), 4, "cores that are off are no quota");
        assert_eq!(shares(2, 2, 2), 1, "more processes than cores");
    }

    #[test]
    fn a_rank_that_is_bound_to_fewer_cores_than_its_share_computes_with_those_and_says_so() {
        let of = |usable, asked| {
            let Threads { count, note } = Cores { usable, bound: usable, online: 64 }.threads(asked, 2);
            (count, note.map(|note| note.split_once(';').unwrap().0.to_owned()))
        };
        let note = |text: &str| Some(format!("this rank may use {text}"));
        assert_eq!(of(1, 0), (1, note("one core of 64, fewer than the 32 of its share")));
        assert_eq!(of(16, 0), (16, note("16 cores of 64, fewer than the 32 of its share")));
        assert_eq!(of(1, 8), (8, note("one core of 64, fewer than the 8 of its share")));
        assert_eq!([of(32, 0), of(64, 0)], [(32, None), (32, None)]);
        // What is asked for is had, or is more than a share.
        assert_eq!([of(1, 1), of(32, 40)], [(1, None), (40, None)]);
        let by_quota = Cores { usable: 4, bound: 64, online: 64 };
        assert!(by_quota.threads(0, 2).note.is_none() && by_quota.threads(8, 2).note.is_none());
    }

    #[test]
    fn cores_are_counted_as_linux_lists_them() {
        assert_eq!(["0-3,8,10-11\n", "\t0\n", "", "3-1", "a"].map(cores_in), [Some(7), Some(1), None, None, None]);
        let status = "Name:\tclsa\nCpus_allowed:\tf0\nCpus_allowed_list:\t4-7\nMems_allowed_list:\t0\n";
        assert_eq!((bound_cores(status), bound_cores("")), (Some(4), None));
    }
}
