//! Which of several processes this one is, as their launcher says.

use crate::failure::{Failure, request};

/// This process as its launcher has started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Who has.
    pub launcher: Launcher,
    /// How many processes there are.
    pub ranks: usize,
    /// How many of them are on this machine.
    pub on_machine: usize,
}

/// Who starts several processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun`, `mpiexec`, or `srun` with a plug-in for MPI: MPI itself says the rest.
    Mpi,
    /// `pretrain --ranks`, `torchrun`, or `srun`.
    Meeting(Meeting),
}

/// Where processes meet that nothing else has brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// This process, 0-based.
    pub rank: usize,
    /// Its number among those of this machine.
    pub local_rank: usize,
    /// Where the first process is met, `HOST:PORT`.
    pub address: String,
}

/// torch's.
const PORT: &str = "29500";

impl Launched {
    /// What the environment says to a process on CPUs, or on GPUs; none where this is the only process.
    pub fn from_environment(on_gpu: bool) -> Option<Self> {
        Self::from_variables(on_gpu, &|name| std::env::var(name).ok())
    }

    fn from_variables(on_gpu: bool, variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| -> Option<usize> { variable(name)?.parse().ok() };
        let tasks = || number("SLURM_STEP_NUM_TASKS").or_else(|| number("SLURM_NTASKS"));
        let mpi = || {
            // Open MPI; MPICH and srun's PMI2; srun's PMIx.
            let with_pmix = || number("PMIX_RANK").and_then(|_| tasks());
            let ranks = number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or_else(with_pmix)?;
            let on_machine = number("OMPI_COMM_WORLD_LOCAL_SIZE").or_else(|| number("MPI_LOCALNRANKS"));
            Some(Self { launcher: Launcher::Mpi, ranks, on_machine: on_machine.unwrap_or(1).max(1) })
        };
        let port = || variable("MASTER_PORT").unwrap_or_else(|| PORT.to_owned());
        let torchrun = || {
            let (rank, ranks) = (number("RANK")?, number("WORLD_SIZE")?);
            let local_rank = number("LOCAL_RANK").unwrap_or(rank);
            let host = variable("MASTER_ADDR").unwrap_or_else(|| "127.0.0.1".to_owned());
            // At its own port torchrun itself may be listening, for those that ask it by torch.
            let port = if variable("TORCHELASTIC_RUN_ID").is_some() { port_beside(&port()) } else { port() };
            let launcher = Launcher::Meeting(Meeting { rank, local_rank, address: format!("{host}:{port}") });
            Some(Self { launcher, ranks, on_machine: number("LOCAL_WORLD_SIZE").unwrap_or(1).max(1) })
        };
        let slurm = || {
            // In a step, that is under srun: a job's own script has the variables of its tasks too.
            number("SLURM_STEP_ID")?;
            let (rank, ranks) = (number("SLURM_PROCID")?, tasks()?);
            let local_rank = number("SLURM_LOCALID").unwrap_or(0);
            let nodes = || variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_NODELIST"));
            let host = variable("MASTER_ADDR").or_else(|| first_host(&nodes()?))?;
            let launcher = Launcher::Meeting(Meeting { rank, local_rank, address: format!("{host}:{}", port()) });
            let on_machine = variable("SLURM_STEP_TASKS_PER_NODE").and_then(|tasks| first_number(&tasks));
            Some(Self { launcher, ranks, on_machine: on_machine.unwrap_or(1).max(1) })
        };
        let launched =
            if on_gpu { torchrun().or_else(slurm).or_else(mpi) } else { mpi().or_else(torchrun).or_else(slurm) };
        launched.filter(|launched| launched.ranks > 1)
    }

    /// Refuses a command that several processes would each do alone.
    pub fn refuse(&self, command: &str) -> Failure {
        let ranks = self.ranks;
        request(format!(
            "{command}: it was started {ranks} times by a launcher, and only `pretrain`, `replay` and `bench ranks` share their work among \
             processes; start it once, without the launcher"
        ))
    }
}

/// The next port, or the one before the last.
fn port_beside(port: &str) -> String {
    let beside = |port: u16| port.checked_add(1).unwrap_or(port - 1).to_string();
    port.parse().map_or_else(|_| port.to_owned(), beside)
}

/// The first host of a list of SLURM's, such as `gpu[03-07,12],login`.
fn first_host(nodes: &str) -> Option<String> {
    let name = nodes.split([',', '[']).next()?;
    let rest = nodes[name.len()..].strip_prefix('[').unwrap_or_default();
    let number = rest.split([',', '-', ']']).next().unwrap_or_default();
    Some(format!("{name}{number}")).filter(|host| !host.is_empty())
}

/// The number that a text begins with, such as `4(x2),3`.
fn first_number(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(on_gpu: bool, variables: &[(&str, &str)]) -> Option<Launched> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Launched::from_variables(on_gpu, &value)
    }

    fn meeting(rank: usize, local_rank: usize, address: &str, ranks: usize, on_machine: usize) -> Option<Launched> {
        let launcher = Launcher::Meeting(Meeting { rank, local_rank, address: address.to_owned() });
        Some(Launched { launcher, ranks, on_machine })
    }

    #[test]
    fn a_launcher_says_how_many_processes_there_are() {
        let mpi = |ranks, on_machine| Some(Launched { launcher: Launcher::Mpi, ranks, on_machine });
        assert_eq!(launched(false, &[("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "2")]), mpi(4, 2));
        assert_eq!(launched(false, &[("PMI_SIZE", "3"), ("MPI_LOCALNRANKS", "3")]), mpi(3, 3));
        assert_eq!(launched(false, &[("PMIX_RANK", "0"), ("SLURM_NTASKS", "2")]), mpi(2, 1));
        let step = [("PMIX_RANK", "0"), ("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(launched(false, &step), mpi(2, 1));
    }

    #[test]
    fn torchrun_and_srun_say_where_the_first_process_is_met() {
        let torchrun = [
            ("RANK", "9"),
            ("WORLD_SIZE", "16"),
            ("LOCAL_RANK", "1"),
            ("LOCAL_WORLD_SIZE", "8"),
            ("MASTER_ADDR", "node7"),
            ("MASTER_PORT", "1234"),
        ];
        for on_gpu in [false, true] {
            assert_eq!(launched(on_gpu, &torchrun), meeting(9, 1, "node7:1234", 16, 8));
        }
        let listening = [&torchrun[..], &[("TORCHELASTIC_RUN_ID", "none")]].concat();
        assert_eq!(launched(true, &listening), meeting(9, 1, "node7:1235", 16, 8));
        assert_eq!([port_beside("65535"), port_beside("x")], ["65534", "x"]);
        let srun = [
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_NODELIST", "gpu[03-04]"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
            ("PMIX_RANK", "5"),
        ];
        assert_eq!(launched(true, &srun), meeting(5, 1, "gpu03:29500", 8, 4));
        // The same processes on CPUs are MPI's, where srun has it.
        assert_eq!(launched(false, &srun).unwrap().launcher, Launcher::Mpi);
        assert_eq!(launched(false, &srun[..6]), meeting(5, 1, "gpu03:29500", 8, 4));
        for (nodes, first) in [("login", "login"), ("a1,b2", "a1"), ("n[7,9-12],m1", "n7"), ("r1n[001-100]", "r1n001")]
        {
            assert_eq!(first_host(nodes).as_deref(), Some(first));
        }
        assert_eq!(first_host(""), None);
    }

    #[test]
    fn one_process_is_alone_and_so_is_a_program_in_a_job_that_has_tasks_to_give() {
        for on_gpu in [false, true] {
            assert_eq!(launched(on_gpu, &[]), None);
            assert_eq!(launched(on_gpu, &[("OMPI_COMM_WORLD_SIZE", "1")]), None);
            assert_eq!(launched(on_gpu, &[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]), None);
            assert_eq!(launched(on_gpu, &[("WORLD_SIZE", "8")]), None);
        }
    }
}
