//! `clsa-eval`: the commands of CLSA that evaluate. `cargo xtask` builds and runs it.

mod commands;

use clap::{Parser, Subcommand};
use clsa_eval::EvalError;
use commands::{eval, report};
use std::process::ExitCode;

/// Contrastive Learning with Stronger Augmentations.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Eval(Box<eval::Args>),
    Report(report::Args),
}

/// How a command failed: by itself, or because what was asked for is wrong.
pub(crate) enum Failure {
    /// Exit code 1.
    Run(anyhow::Error),
    /// Exit code 2.
    Request(anyhow::Error),
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        if error.is_request() { Self::Request(error.into()) } else { Self::Run(error.into()) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

/// Marks an error as a wrong request.
pub(crate) fn request(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Request(error.into())
}

/// An error and its causes in one line; a cause that the text before it already says is left out.
fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn main() -> ExitCode {
    // `… | head -1` ends the command, as it does any other, where Rust would panic.
    sigpipe::reset();
    let result = match Cli::parse().command {
        Command::Eval(args) => eval::run(*args),
        Command::Report(args) => report::run(args),
    };
    let (error, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(error)) => (error, 1),
        Err(Failure::Request(error)) => (error, 2),
    };
    eprintln!("error: {}", describe(&error));
    ExitCode::from(code)
}
