//! `clsa-train`: the commands of CLSA that train, measure and show. `cargo xtask` builds and runs it.

mod commands;

use clap::{Parser, Subcommand};
use commands::{bench, convert, data, doctor, pretrain, replay, views};
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
    Pretrain(pretrain::Args),
    Replay(replay::Args),
    Bench(bench::Args),
    Views(views::Args),
    Data(data::Args),
    Convert(convert::Args),
    Doctor(doctor::Args),
}

/// How a command failed: by itself, or because what was asked for is wrong.
pub(crate) enum Failure {
    /// Exit code 1.
    Run(anyhow::Error),
    /// Exit code 2.
    Request(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// Marks an error as a wrong request.
pub(crate) fn request(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Request(error.into())
}

fn main() -> ExitCode {
    // `… | head -1` ends the command, as it does any other, where Rust would panic.
    sigpipe::reset();
    let result = match Cli::parse().command {
        Command::Pretrain(args) => pretrain::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Views(args) => views::run(args),
        Command::Data(args) => data::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    let (error, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(error)) => (error, 1),
        Err(Failure::Request(error)) => (error, 2),
    };
    eprintln!("error: {}", describe(&error));
    ExitCode::from(code)
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
