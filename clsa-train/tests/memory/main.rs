//! Files that state far more than they hold, read by the program with little memory: each is refused in one sentence or counted
//! as a bad image. Nothing of a stranger's file makes the program ask for more memory than SECURITY.md says.
#![cfg(target_os = "linux")]

mod data_sets;
mod images;
#[cfg(feature = "parquet")]
mod parquet;
mod runs;
mod weights;

use assert_cmd::Command;
use std::fs::File;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

/// What no file here may make the program ask for, beside what it takes without one: it is set as the limit of its address space,
/// of which a program of one thread takes some 200 MiB before it has done anything.
const LIMIT_MIB: u64 = 512;

/// A file that is said to have this length and takes none on the disk.
const LONG: u64 = 2 << 30;

/// What a packed file unpacks to: more than the limit.
const UNPACKED: u64 = 600 << 20;

/// The program with a limit of its address space, in MiB.
fn limited(mib: u64) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {}; exec \"$0\" \"$@\"", mib << 10)])
        .arg(assert_cmd::cargo::cargo_bin("clsa"));
    // Every thread takes address space of its own, however little memory it needs.
    command.env("MALLOC_ARENA_MAX", "1").env("RAYON_NUM_THREADS", "1").timeout(Duration::from_secs(120));
    command
}

/// Checks that a command is refused in one sentence that holds `words`, because of what is stated and not because it was taken.
fn refused(what: &str, command: &mut Command, words: &str) {
    let error = failed(what, command);
    assert!(error.contains(words), "{what}: not {words:?}: {error}");
    assert!(!error.contains("out of memory") && !error.contains("allocat"), "{what}: {error}");
}

/// Checks that a command fails with one sentence, and returns that.
fn failed(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (code, text) = (output.status.code(), error_stream(&output));
    assert!(matches!(code, Some(1 | 2)) && !text.contains("panicked"), "{what}: {}: {text}", output.status);
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {text}");
    errors[0].to_owned()
}

fn error_stream(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes a file begin with these bytes and have this length; the rest of it is zeros that take no room.
fn sparse(path: &Path, bytes: &[u8], length: u64) {
    std::fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}
