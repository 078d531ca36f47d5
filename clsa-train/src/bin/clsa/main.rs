//! `clsa`: every command of CLSA. `cargo xtask` builds and runs it.

#![deny(clippy::print_stderr, clippy::print_stdout)] // these panic where nothing can be written; see `streams`

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
mod streams;
mod subject;
mod view_grid;
mod views;
mod weight_path;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
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
    let examples = command.get_after_help().map(|text| text.to_string().replace("clsa ", &format!("{} ", program())));
    let command = command.mut_subcommands(named);
    match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    }
}

/// The command as the user has typed it.
fn command_name(matches: &ArgMatches) -> String {
    matches.subcommand_name().unwrap_or_default().to_owned()
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
    let alone = match &cli.command {
        Command::Pretrain(_) | Command::Replay(_) | Command::Bench(_) | Command::Doctor(_) => None,
        _ => Launched::from_environment(false),
    };
    let result = match cli.command {
        _ if alone.is_some() => alone.map_or(Ok(()), |launched| Err(launched.refuse(&command_name(&matches)))),
        Command::Pretrain(args) => pretrain::run(args),
        Command::Eval(args) => eval::run(*args),
        Command::Report(args) => report::run(args),
        Command::Embed(args) => embed::run(*args),
        Command::Search(args) => search::run(*args),
        Command::Views(args) => views::run(args),
        Command::Data(args) => data::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Export(args) => export::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say!("error: {}", failure.sentence());
            ExitCode::from(failure.exit_code())
        }
    }
}
