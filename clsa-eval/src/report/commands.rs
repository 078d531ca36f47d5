//! The commands that the page names, for its reader to type.

use clsa_run::RunFolder;
use std::borrow::Cow;

/// Commands of the program of this name.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    program: String,
}

impl Commands {
    pub(super) fn new(program: &str) -> Self {
        Self { program: program.to_owned() }
    }

    /// Evaluates, with these options.
    pub(super) fn eval(&self, options: &str) -> String {
        format!("{} eval {options}", self.program).trim_end().to_owned()
    }

    /// Evaluates a run, with these options.
    pub(super) fn eval_run(&self, run: &RunFolder, options: &str) -> String {
        self.eval(&format!("--run {} {options}", typed(run)))
    }

    /// Trains, with these options.
    pub(super) fn pretrain(&self, options: &str) -> String {
        format!("{} pretrain {options}", self.program)
    }

    /// Makes the report of a run.
    pub(super) fn report(&self, run: &RunFolder) -> String {
        format!("{} report {}", self.program, typed(run))
    }
}

/// A run as it is named in a shell.
fn typed(run: &RunFolder) -> String {
    let path = run.path().display().to_string();
    // No path has a zero byte, which alone cannot be typed.
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_folder_is_named_so_that_a_shell_takes_it_as_one_word() {
        let named = |path: &str| Commands::new("clsa").report(&RunFolder::at(Path::new(path)));
        assert_eq!(named("runs/demo-1"), "clsa report runs/demo-1");
        assert_eq!(named("my runs/$1"), "clsa report 'my runs/$1'");
    }
}
