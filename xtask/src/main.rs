//! `cargo xtask …`: builds the binaries of the workspace with the right features and runs them.
//!
//! It depends on nothing, so that it starts in seconds.

mod cuda;
mod nvcc;
mod sources;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Automation of the CLSA workspace: builds what a command needs, then runs it.

Usage: cargo xtask COMMAND [OPTIONS]

  pretrain     pretrain an encoder; without options on generated images, in about three minutes
  eval         evaluate a run or a weight file; without options the newest run
  report       write a run's report.html
  views        draw the key, weak and strong views of an image
  data         describe, verify, pack, index or fetch a data set
  convert      convert weights between safetensors, PyTorch and Detectron2
  replay       replay a recorded trajectory of the original implementation
  bench        measure a training step, the loss or the augmentation
  doctor       show what this machine offers and what is missing
  test         run every test of the workspace
  check-cuda   check that everything compiles with CUDA

`cargo xtask COMMAND --help` explains a command and shows an example.
";

/// The commands that a binary of the workspace carries out.
const BINARIES: [(&str, &[&str]); 2] = [
    ("clsa-train", &["pretrain", "views", "data", "convert", "replay", "bench", "doctor"]),
    ("clsa-eval", &["eval", "report"]),
];

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let Some(command) = args.first().and_then(|arg| arg.to_str()) else {
        show(HELP);
        return ExitCode::from(2);
    };
    let result = match command {
        "-h" | "--help" | "help" => {
            show(HELP);
            Ok(0)
        }
        "test" => test(&args[1..]),
        "check-cuda" => nvcc::check(&args[1..]),
        _ => match BINARIES.iter().find(|(_, commands)| commands.contains(&command)) {
            Some((package, _)) => run(package, &args),
            None => {
                eprintln!("error: there is no command `{command}`; `cargo xtask --help` lists them");
                return ExitCode::from(2);
            }
        },
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds a package's binary in release mode and runs it with the arguments as they are.
fn run(package: &str, args: &[OsString]) -> Result<u8, String> {
    let mut features: Vec<&str> = Vec::new();
    if args.iter().any(|arg| arg.to_str().is_some_and(|text| text.contains("cuda"))) {
        features.extend(cuda::features());
    }
    features.extend(sources::features(args));
    // Both binaries in one go: alone, each would have its own choice of features of shared dependencies, and the second
    // command would build Candle once more.
    let mut build = cargo();
    build.args(["build", "--release"]).args(BINARIES.iter().flat_map(|(package, _)| ["--package", package]));
    if !features.is_empty() {
        build.args(["--features", &features.join(",")]);
    }
    // A bare build is long and says what it does; a finished one is silent.
    build.arg("--quiet");
    if !binary(package).exists() {
        eprintln!("building {package} (some minutes the first time)");
    }
    let built = code(&mut build)?;
    if built != 0 {
        return Err(format!("{package} did not build"));
    }
    code(Command::new(binary(package)).args(args))
}

/// Every test of the workspace, optimised, with the dependencies that the commands have built already.
fn test(args: &[OsString]) -> Result<u8, String> {
    code(cargo().args(["test", "--release", "--workspace"]).args(args))
}

/// Runs a command and gives its exit code; a child that a signal ended counts as failed.
fn code(command: &mut Command) -> Result<u8, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|e| format!("{name} could not be started: {e}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints a text; a reader that has gone is no error.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace")
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn binary(package: &str) -> PathBuf {
    target().join("release").join(format!("{package}{}", env::consts::EXE_SUFFIX))
}
