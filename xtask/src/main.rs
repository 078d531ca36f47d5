//! `cargo xtask …`: builds the program `clsa` with the right features and runs it; and what concerns the workspace itself.
//!
//! But for its tests it depends on nothing, so that it starts in seconds, and knows features, and of the commands of `clsa` none but
//! `doctor`.

/// Prints a line to the error stream; where nobody reads it, the work goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod bundle;
mod check;
mod cuda;
mod features;
mod files;
mod nvcc;
mod soak;
mod stub;
mod symlink;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Automation of the CLSA workspace.

Usage: cargo xtask COMMAND [OPTIONS]

  test          run the tests of the workspace
  check-cuda    check that everything compiles with CUDA
  bundle-cuda   make a folder that proves and measures CUDA on a machine with a GPU
  soak          campaigns against what goes wrong on real machines, such as kill -9

Any other COMMAND is one of the program `clsa`, which is built on the way: `cargo xtask pretrain`, `cargo xtask eval`.
`cargo xtask help` lists them, and `cargo xtask COMMAND --help` explains one and shows an example.
";

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let result = match args.first().and_then(|arg| arg.to_str()) {
        None => {
            show(HELP);
            return ExitCode::from(2);
        }
        Some("-h" | "--help") => {
            show(HELP);
            Ok(0)
        }
        Some("test") => test(&args[1..]),
        Some("check-cuda") => check::run(&args[1..]),
        Some("bundle-cuda") => bundle::run(&args[1..]),
        Some("soak") => soak::run(&args[1..]),
        Some(_) => run(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds `clsa` in release mode and runs it with the arguments as they are.
fn run(args: &[OsString]) -> Result<u8, String> {
    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--package", "clsa-train"]);
    let mut run = Command::new(program());
    run.args(args).env("CLSA_RUN_AS", "cargo xtask");
    if features::names_gpu(args) {
        if !cuda::has_driver() {
            tell!("error: --device cuda: this machine has no NVIDIA driver (libcuda.so.1); see `cargo xtask doctor`");
            return Ok(2);
        }
        let toolkit = nvcc::toolkit()?;
        build.args(["--features", if features::names_ranks(args) { features::NCCL } else { features::CUDA }]);
        toolkit.build_with(&mut build)?;
        toolkit.run_with(&mut run)?;
    } else if args.first().is_some_and(|command| command == "doctor")
        && let Ok(Some(toolkit)) = nvcc::present()
    {
        // It names the libraries that are missing, and those that a command with a GPU is given are not.
        toolkit.run_with(&mut run)?;
    }
    // Processes on GPUs meet without MPI, also where srun has it ready.
    if !features::names_gpu(args) && features::started_by_mpi() {
        build.args(["--features", features::MPI]);
    }
    if features::names_remote(args, Path::new("runs")) {
        build.args(["--features", features::REMOTE]);
    }
    if !program().exists() {
        tell!("building clsa (some minutes the first time)");
    }
    if code(&mut build)? != 0 {
        return Err("clsa did not build".to_owned());
    }
    replace_by(run)
}

/// Becomes another program, so that signals and exit codes are its own.
#[cfg(unix)]
fn replace_by(mut command: Command) -> Result<u8, String> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(format!("{} could not be started: {error}", command.get_program().to_string_lossy()))
}

#[cfg(not(unix))]
fn replace_by(mut command: Command) -> Result<u8, String> {
    code(&mut command)
}

/// The tests of the workspace, optimized, with the dependencies that the commands have built already.
fn test(args: &[OsString]) -> Result<u8, String> {
    let mut test = cargo();
    test.args(["test", "--release", "--workspace"]);
    // The servers of tests are on this machine, whatever stands between it and others.
    let direct = ["NO_PROXY", "no_proxy"].iter().find_map(|name| env::var(name).ok());
    test.env("NO_PROXY", direct.map_or_else(|| "127.0.0.1".to_owned(), |hosts| format!("{hosts},127.0.0.1")));
    match features::missing_for_mpi() {
        None => _ = test.args(["--features", "clsa-train/mpi"]),
        Some(packages) => tell!("note: the tests of several ranks over MPI are left out; they need {packages}"),
    }
    code(test.args(args))
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
    // A relative folder is that of the caller's, as it was for the cargo that has built this program.
    if let Some(target) = env::var_os("CARGO_TARGET_DIR")
        && let Ok(target) = std::path::absolute(target)
    {
        command.env("CARGO_TARGET_DIR", target);
    }
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

/// Where cargo builds, whoever has configured that, a triple included: this program is in the folder of a profile there.
fn target() -> PathBuf {
    let own = env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent).and_then(Path::parent);
    folder.map_or_else(|| root().join("target"), Path::to_owned)
}

/// The built program.
fn program() -> PathBuf {
    target().join("release").join(format!("clsa{}", env::consts::EXE_SUFFIX))
}
