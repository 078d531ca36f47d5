//! Which of several processes this one is, as their launcher says.

use crate::failure::{Failure, request};
use std::collections::BTreeMap;

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
    /// The launcher's name of all of them together, by which others at the same address are told apart; empty where it gives none.
    pub job: String,
}

/// torch's.
const PORT: u16 = 29_500;

/// Variables that say which process this is only together with [`RANK`] and [`WORLD_SIZE`].
const BESIDE: [&str; 5] = ["LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"];
const RANK: &str = "RANK";
const WORLD_SIZE: &str = "WORLD_SIZE";

/// How many of its processes are on this machine, as `mpirun` of Open MPI and of MPICH says.
const OF_MPIRUN: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

impl Launched {
    /// What the environment says to a process on CPUs, or on GPUs; none where this is the only process. What is wrong in it is refused:
    /// each of several processes would train a run of its own.
    pub fn read(on_gpu: bool) -> Result<Option<Self>, Failure> {
        Self::from_variables(on_gpu, &Variables::of_this_process())
    }

    /// The same for a command that does not share its work, which does not care for what is wrong.
    pub fn from_environment(on_gpu: bool) -> Option<Self> {
        Self::read(on_gpu).unwrap_or_default()
    }

    fn from_variables(on_gpu: bool, variables: &Variables) -> Result<Option<Self>, Failure> {
        type Source = fn(&Variables) -> Result<Option<Launched>, Failure>;
        let sources: [Source; 3] = if on_gpu {
            [Variables::torchrun, Variables::slurm, Variables::mpi]
        } else {
            [Variables::mpi, Variables::torchrun, Variables::slurm]
        };
        // One that speaks of one process hides none that speaks of several.
        for source in sources {
            if let Some(launched) = source(variables)? {
                return Ok(Some(launched));
            }
        }
        variables.check_that_none_is_missing()?;
        Ok(None)
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

/// The variables of a process, by name.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn of_this_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A number; none where the variable is not set.
    fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = "a launcher of several processes sets it to a number; unset it for one process";
        text.parse::<usize>().map(Some).map_err(|_| request(format!("{name}={text}: {wrong}")))
    }

    /// A number without which a process does not know which one it is.
    fn needed(&self, name: &str) -> Result<usize, Failure> {
        let missing = || {
            request(format!("{name} is not set, and of the other variables of a launcher there are some; set it too"))
        };
        self.number(name)?.ok_or_else(missing)
    }

    /// The number in the first of these that is set.
    fn first_number(&self, names: &[&str]) -> Result<Option<usize>, Failure> {
        names.iter().find(|name| self.has(name)).map_or(Ok(None), |name| self.number(name))
    }

    /// How many tasks a step of SLURM's has.
    fn tasks(&self) -> Result<Option<usize>, Failure> {
        self.first_number(&["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"])
    }

    /// How many tasks a step of SLURM's has on each machine, or on its first.
    fn tasks_on_machine(&self) -> Option<usize> {
        leading_number(self.text("SLURM_STEP_TASKS_PER_NODE")?)
    }

    fn mpi(&self) -> Result<Option<Launched>, Failure> {
        // Open MPI; MPICH and srun's PMI2; srun's PMIx.
        let ranks = match self.first_number(&["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])? {
            None if self.has("PMIX_RANK") => self.tasks()?,
            ranks => ranks,
        };
        let Some(ranks) = ranks.filter(|&ranks| ranks > 1) else { return Ok(None) };
        let on_machine = self.first_number(&OF_MPIRUN)?.or_else(|| self.tasks_on_machine());
        Ok(Some(Launched { launcher: Launcher::Mpi, ranks, on_machine: on_machine.unwrap_or(1).max(1) }))
    }

    fn torchrun(&self) -> Result<Option<Launched>, Failure> {
        if !(self.has(RANK) && self.has(WORLD_SIZE)) {
            return Ok(None);
        }
        let (rank, ranks) = (self.needed(RANK)?, self.needed(WORLD_SIZE)?);
        check_rank(RANK, rank, WORLD_SIZE, ranks)?;
        if ranks == 1 {
            return Ok(None);
        }
        let local_rank = self.number("LOCAL_RANK")?.unwrap_or(rank);
        let host = self.text("MASTER_ADDR").unwrap_or("127.0.0.1");
        let (port, job) = (self.port()?, self.text("TORCHELASTIC_RUN_ID"));
        // At its own port torchrun itself may be listening, for those that ask it by torch.
        let port = if job.is_some() { port_beside(port) } else { port };
        let (address, job) = (format!("{host}:{port}"), job.unwrap_or_default().to_owned());
        let launcher = Launcher::Meeting(Meeting { rank, local_rank, address, job });
        let on_machine = self.number("LOCAL_WORLD_SIZE")?.unwrap_or(1).max(1);
        Ok(Some(Launched { launcher, ranks, on_machine }))
    }

    fn slurm(&self) -> Result<Option<Launched>, Failure> {
        // In a step, that is under srun: a job's own script has the variables of its tasks too. Where mpirun starts its processes by a step
        // of SLURM's, that has a task for each machine.
        let step = self.text("SLURM_STEP_ID").filter(|step| step.parse::<u64>().is_ok());
        let is_of_mpirun = OF_MPIRUN.iter().any(|name| self.has(name)) && self.tasks_on_machine() == Some(1);
        let Some(step) = step.filter(|_| !is_of_mpirun) else { return Ok(None) };
        let Some(ranks) = self.tasks()?.filter(|&ranks| ranks > 1) else { return Ok(None) };
        let rank = self.needed("SLURM_PROCID")?;
        check_rank("SLURM_PROCID", rank, "the number of tasks", ranks)?;
        let local_rank = self.number("SLURM_LOCALID")?.unwrap_or(0);
        let nodes = self.text("SLURM_STEP_NODELIST").or_else(|| self.text("SLURM_NODELIST")).unwrap_or_default();
        let host = self.text("MASTER_ADDR").map(str::to_owned).or_else(|| first_host(nodes)).ok_or_else(|| {
            request(format!(
                "SLURM_STEP_NODELIST={nodes}: it has no first machine; name that of SLURM_PROCID 0 by MASTER_ADDR"
            ))
        })?;
        let job = format!("{}.{step}", self.text("SLURM_JOB_ID").unwrap_or_default());
        let address = format!("{host}:{}", self.port()?);
        let launcher = Launcher::Meeting(Meeting { rank, local_rank, address, job });
        Ok(Some(Launched { launcher, ranks, on_machine: self.tasks_on_machine().unwrap_or(1).max(1) }))
    }

    fn port(&self) -> Result<u16, Failure> {
        let Some(text) = self.text("MASTER_PORT") else { return Ok(PORT) };
        let port = text.parse::<u16>().ok().filter(|&port| port > 0);
        port.ok_or_else(|| request(format!("MASTER_PORT={text}: use a number from 1 to {}", u16::MAX)))
    }

    /// Refuses one half of what says which process this is, where more than it speaks of several: it was not left behind by something else.
    fn check_that_none_is_missing(&self) -> Result<(), Failure> {
        let (set, missing) = match (self.has(RANK), self.text(WORLD_SIZE)) {
            (true, None) => (RANK, WORLD_SIZE),
            (false, Some(ranks)) if ranks != "1" => (WORLD_SIZE, RANK),
            _ => return Ok(()),
        };
        match BESIDE.iter().find(|name| self.has(name)) {
            None => Ok(()),
            Some(other) => Err(request(format!(
                "{set} and {other} are set, and {missing} is not; set it too for each of several processes, or unset {set} for one process"
            ))),
        }
    }
}

/// Refuses a rank that is none of so many.
fn check_rank(name: &str, rank: usize, of: &str, ranks: usize) -> Result<(), Failure> {
    if rank < ranks {
        return Ok(());
    }
    Err(request(format!("{name}={rank}: ranks are counted from 0 to below {of}, which is {ranks}")))
}

/// The next port, or the one before the last.
fn port_beside(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(port - 1)
}

/// The first host of a list of SLURM's, such as `gpu[03-07,12],login`; a name may have several such numbers.
fn first_host(nodes: &str) -> Option<String> {
    let (mut host, mut rest) = (String::new(), nodes);
    while let Some(place) = rest.find([',', '[']) {
        host.push_str(&rest[..place]);
        let Some(numbers) = rest[place..].strip_prefix('[') else {
            rest = "";
            break;
        };
        let (numbers, after) = numbers.split_once(']')?;
        host.push_str(numbers.split([',', '-']).next().unwrap_or_default());
        rest = after;
    }
    host.push_str(rest);
    Some(host).filter(|host| !host.is_empty())
}

/// The number that a text begins with, such as `4(x2),3`.
fn leading_number(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(on_gpu: bool, variables: &[(&str, &str)]) -> Result<Option<Launched>, Failure> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Launched::from_variables(on_gpu, &Variables(variables.collect()))
    }

    fn launched(on_gpu: bool, variables: &[(&str, &str)]) -> Option<Launched> {
        read(on_gpu, variables).unwrap_or_else(|failure| panic!("{}", failure.sentence()))
    }

    fn mpi(ranks: usize, on_machine: usize) -> Option<Launched> {
        Some(Launched { launcher: Launcher::Mpi, ranks, on_machine })
    }

    /// A launched process of so many, and of so many on its machine.
    fn meeting(meeting: Meeting, ranks: usize, on_machine: usize) -> Option<Launched> {
        Some(Launched { launcher: Launcher::Meeting(meeting), ranks, on_machine })
    }

    /// The rank, its number on its machine, the address and the job.
    fn at(rank: usize, local_rank: usize, address: &str, job: &str) -> Meeting {
        Meeting { rank, local_rank, address: address.to_owned(), job: job.to_owned() }
    }

    const TORCHRUN: [(&str, &str); 6] = [
        ("RANK", "9"),
        ("WORLD_SIZE", "16"),
        ("LOCAL_RANK", "1"),
        ("LOCAL_WORLD_SIZE", "8"),
        ("MASTER_ADDR", "node7"),
        ("MASTER_PORT", "1234"),
    ];
    const SRUN: [(&str, &str); 7] = [
        ("SLURM_JOB_ID", "77"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "5"),
        ("SLURM_NTASKS", "8"),
        ("SLURM_LOCALID", "1"),
        ("SLURM_STEP_NODELIST", "gpu[03-04]"),
        ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
    ];

    #[test]
    fn a_launcher_says_how_many_processes_there_are() {
        assert_eq!(launched(false, &[("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "2")]), mpi(4, 2));
        assert_eq!(launched(false, &[("PMI_SIZE", "3"), ("MPI_LOCALNRANKS", "3")]), mpi(3, 3));
        assert_eq!(launched(false, &[("PMIX_RANK", "0"), ("SLURM_NTASKS", "2")]), mpi(2, 1));
        let step = [("PMIX_RANK", "0"), ("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(launched(false, &step), mpi(2, 1));
    }

    #[test]
    fn ranks_of_srun_over_mpi_are_counted_on_each_machine() {
        for plug_in in [("PMIX_RANK", "5"), ("PMI_SIZE", "8")] {
            assert_eq!(launched(false, &[&SRUN[..], &[plug_in]].concat()), mpi(8, 4));
        }
    }

    #[test]
    fn torchrun_and_srun_say_where_the_first_process_is_met() {
        for on_gpu in [false, true] {
            assert_eq!(launched(on_gpu, &TORCHRUN), meeting(at(9, 1, "node7:1234", ""), 16, 8));
        }
        let listening = [&TORCHRUN[..], &[("TORCHELASTIC_RUN_ID", "none")]].concat();
        assert_eq!(launched(true, &listening), meeting(at(9, 1, "node7:1235", "none"), 16, 8));
        assert_eq!([port_beside(65_535), port_beside(1)], [65_534, 2]);
        let srun = [&SRUN[..], &[("PMIX_RANK", "5")]].concat();
        assert_eq!(launched(true, &srun), meeting(at(5, 1, "gpu03:29500", "77.0"), 8, 4));
        // The same processes on CPUs are MPI's, where srun has it.
        assert_eq!(launched(false, &srun), mpi(8, 4));
        assert_eq!(launched(false, &SRUN), meeting(at(5, 1, "gpu03:29500", "77.0"), 8, 4));
        for (nodes, first) in [
            ("login", "login"),
            ("a1,b2", "a1"),
            ("n[7,9-12],m1", "n7"),
            ("r1n[001-100]", "r1n001"),
            ("rack[0-1]node[0-3],x", "rack0node0"),
            ("gpu[1-2]-ib", "gpu1-ib"),
        ] {
            assert_eq!(first_host(nodes).as_deref(), Some(first));
        }
        assert_eq!([first_host(""), first_host("n[7")], [None, None]);
    }

    #[test]
    fn one_process_is_alone_and_so_is_a_program_in_a_job_that_has_tasks_to_give() {
        for on_gpu in [false, true] {
            assert_eq!(launched(on_gpu, &[]), None);
            assert_eq!(launched(on_gpu, &[("OMPI_COMM_WORLD_SIZE", "1")]), None);
            assert_eq!(launched(on_gpu, &[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]), None);
            // Left behind by something else.
            for (name, value) in [("WORLD_SIZE", "8"), ("RANK", "0"), ("RANK", ""), ("MASTER_ADDR", "node7")] {
                assert_eq!(launched(on_gpu, &[(name, value)]), None, "{name}={value}");
            }
            assert_eq!(launched(on_gpu, &[("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_PORT", "any")]), None);
            assert_eq!(launched(on_gpu, &[("WORLD_SIZE", "1"), ("MASTER_ADDR", "node7")]), None);
        }
    }

    #[test]
    fn a_launcher_of_one_process_hides_none_of_several() {
        let alone = [("RANK", "0"), ("WORLD_SIZE", "1")];
        let several = meeting(at(5, 1, "gpu03:29500", "77.0"), 8, 4);
        assert_eq!(launched(true, &[&SRUN[..], &alone].concat()), several);
        let torchrun = [&TORCHRUN[..], &[("PMIX_RANK", "0"), ("SLURM_NTASKS", "1")]].concat();
        assert_eq!(launched(false, &torchrun), meeting(at(9, 1, "node7:1234", ""), 16, 8));
        let shell_of_mpirun = [("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "1")];
        assert_eq!(launched(true, &[&SRUN[..], &shell_of_mpirun].concat()), several);
        // A step of mpirun's own has a task for each machine, whatever mpirun was asked for.
        for (size, expected) in [("1", None), ("16", mpi(16, 4))] {
            let of_step = ("SLURM_STEP_TASKS_PER_NODE", "1(x2)");
            let mpirun = [("OMPI_COMM_WORLD_SIZE", size), ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"), of_step];
            for on_gpu in [false, true] {
                assert_eq!(launched(on_gpu, &[&SRUN[..], &mpirun].concat()), expected);
            }
        }
    }

    #[test]
    fn variables_that_are_wrong_or_half_missing_are_refused_by_name() {
        let changed = |name: &'static str, value: &'static str| {
            TORCHRUN.map(|(known, before)| (known, if known == name { value } else { before })).to_vec()
        };
        let without = |variables: &[(&'static str, &'static str)], name: &str| -> Vec<(&'static str, &'static str)> {
            variables.iter().copied().filter(|(known, _)| *known != name).collect()
        };
        for (variables, words) in [
            (changed("WORLD_SIZE", "2x"), "WORLD_SIZE=2x: "),
            (changed("WORLD_SIZE", ""), "WORLD_SIZE=: "),
            (changed("RANK", ""), "RANK=: "),
            (changed("RANK", "16"), "RANK=16: ranks are counted from 0 to below WORLD_SIZE, which is 16"),
            (changed("WORLD_SIZE", "1"), "RANK=9: "),
            (changed("LOCAL_RANK", "a"), "LOCAL_RANK=a: "),
            (changed("MASTER_PORT", "abc"), "MASTER_PORT=abc: "),
            (changed("MASTER_PORT", "0"), "MASTER_PORT=0: "),
            (changed("MASTER_PORT", "65536"), "MASTER_PORT=65536: "),
            (without(&TORCHRUN, "RANK"), "WORLD_SIZE and LOCAL_RANK are set, and RANK is not"),
            (without(&TORCHRUN, "WORLD_SIZE"), "RANK and LOCAL_RANK are set, and WORLD_SIZE is not"),
            (
                vec![("MASTER_ADDR", "node7"), ("WORLD_SIZE", "8")],
                "WORLD_SIZE and MASTER_ADDR are set, and RANK is not",
            ),
            (without(&SRUN, "SLURM_PROCID"), "SLURM_PROCID is not set"),
            (without(&SRUN, "SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST=: "),
            ([&SRUN[..], &[("MASTER_PORT", "abc")]].concat(), "MASTER_PORT=abc: "),
            (vec![("OMPI_COMM_WORLD_SIZE", "two")], "OMPI_COMM_WORLD_SIZE=two: "),
        ] {
            for on_gpu in [false, true] {
                let failure = read(on_gpu, &variables).expect_err(words);
                assert_eq!(failure.exit_code(), 2, "{words}");
                assert!(failure.sentence().starts_with(words), "{words}: {}", failure.sentence());
            }
        }
        // A script of SLURM's says WORLD_SIZE to all, and srun to each which it is.
        let script = [&SRUN[..], &[("WORLD_SIZE", "8"), ("MASTER_ADDR", "gpu03")]].concat();
        assert_eq!(launched(true, &script), meeting(at(5, 1, "gpu03:29500", "77.0"), 8, 4));
    }
}
