//! `clsa`: every command of CLSA. `cargo xtask` builds and runs it.

#![deny(clippy::print_stderr, clippy::print_stdout)] // these panic where nothing can be written; see `streams`

mod arguments;
mod bench;
mod collection;
mod convert;
mod data;
mod device;
mod doctor;
mod embed;
mod eval;
mod export;
mod failure;
mod foreign_head;
mod image_preparation;
mod model_name;
mod output;
mod part;
mod pretrain;
mod progress;
mod ranks;
mod replay;
mod report;
mod reproduce;
mod search;
mod signals;
mod source_kind;
mod streams;
mod study;
mod subject;
mod view_grid;
mod views;
mod weight_path;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use ranks::Launched;
use std::process::ExitCode;
use std::sync::LazyLock;
use streams::say;

/// Contrastive Learning with Stronger Augmentations.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands, in the order of the help.
#[derive(Subcommand)]
enum Command {
    Pretrain(pretrain::Args),
    Eval(Box<eval::Args>),
    Report(report::Args),
    Embed(Box<embed::Args>),
    Search(Box<search::Args>),
    Views(views::Args),
    Data(data::Args),
    Convert(convert::Args),
    Export(export::Args),
    Reproduce(reproduce::Args),
    Study(study::Args),
    Replay(replay::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
}

/// What the user types before a command: `clsa`, or `cargo xtask` where that runs this program.
fn program() -> &'static str {
    static PROGRAM: LazyLock<String> =
        LazyLock::new(|| std::env::var("CLSA_RUN_AS").unwrap_or_else(|_| "clsa".to_owned()));
    &PROGRAM
}

/// Gives a command and those below it the name that the user types, also in their examples.
fn named(command: clap::Command) -> clap::Command {
    // A folder of this name is none of the program.
    let examples = command.get_after_help().map(|text| text.to_string().replace(" clsa ", &format!(" {} ", program())));
    let command = command.mut_subcommands(named);
    match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    }
}

impl Command {
    /// Whether several processes share the work, or it does no harm that each does it.
    fn may_be_started_by_a_launcher(&self) -> bool {
        match self {
            Self::Pretrain(_) | Self::Replay(_) | Self::Bench(_) | Self::Doctor(_) => true,
            Self::Eval(_)
            | Self::Report(_)
            | Self::Embed(_)
            | Self::Search(_)
            | Self::Views(_)
            | Self::Data(_)
            | Self::Convert(_)
            | Self::Export(_)
            | Self::Reproduce(_)
            | Self::Study(_) => false,
        }
    }

    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Pretrain(args) => pretrain::run(args),
            Self::Eval(args) => eval::run(*args),
            Self::Report(args) => report::run(args),
            Self::Embed(args) => embed::run(*args),
            Self::Search(args) => search::run(*args),
            Self::Views(args) => views::run(args),
            Self::Data(args) => data::run(args),
            Self::Convert(args) => convert::run(args),
            Self::Export(args) => export::run(args),
            Self::Reproduce(args) => reproduce::run(args),
            Self::Study(args) => study::run(args),
            Self::Replay(args) => replay::run(args),
            Self::Bench(args) => bench::run(args),
            Self::Doctor(args) => doctor::run(args),
        }
    }
}

fn main() -> ExitCode {
    // A decoder's panic becomes the error of an image, in one sentence.
    let show = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !clsa_data::is_guarded() {
            show(panic);
        }
    }));
    let matches = named(Cli::command().name(program()).bin_name(program())).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match Launched::from_environment(false) {
        Some(launched) if !cli.command.may_be_started_by_a_launcher() => {
            Err(launched.refuse(matches.subcommand_name().unwrap_or_default()))
        }
        _ => cli.command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say!("error: {}", failure.sentence());
            ExitCode::from(failure.exit_code())
        }
    }
}
