//! The commands that the page names, for its reader to type.

use clsa_run::RunFolder;

/// Commands of the program of this name.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    program: String,
}

impl Commands {
    pub(super) fn new(program: &str) -> Self {
        Self { program: program.to_owned() }
    }

    /// Evaluates a run, with these options.
    pub(super) fn eval_run(&self, run: &RunFolder, options: &str) -> String {
        format!("{} eval --run {} {options}", self.program, run.typed()).trim_end().to_owned()
    }

    /// Trains, with these options.
    pub(super) fn pretrain(&self, options: &str) -> String {
        format!("{} pretrain {options}", self.program)
    }

    /// Goes on with the training of a run.
    pub(super) fn resume(&self, run: &RunFolder) -> String {
        self.pretrain(&format!("--resume {}", run.typed()))
    }

    /// Makes the report of a run.
    pub(super) fn report(&self, run: &RunFolder) -> String {
        format!("{} report {}", self.program, run.typed())
    }
}
