//! Ranks as processes of MPI: their steps equal those of one process, and whatever happens to one of them ends all.

mod faults;
mod runs;
mod steps;
#[path = "../tiny/mod.rs"]
mod tiny;

use std::process::{Command, Output};

/// `mpirun -n RANKS`, of Open MPI or MPICH, for tests: also where there are fewer cores, and as any user.
fn mpirun(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string()]);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.envs([("OMPI_MCA_rmaps_base_oversubscribe", "1"), ("OMPI_MCA_hwloc_base_binding_policy", "none")]);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_clsa")
}
