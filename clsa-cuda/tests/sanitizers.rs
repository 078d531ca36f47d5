//! The kernels under the address and undefined-behavior sanitizers of the C++ compiler: accesses out of bounds, loads of 16
//! bytes from addresses that are not multiples of 16, and what C++ does not define.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, which is of one run of this test alone, and removed in the end.
struct Program(PathBuf);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

#[test]
fn no_kernel_reads_or_writes_where_it_must_not() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = format!("sanitizers-{}", std::process::id());
    let program = Program(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    // Not to be loaded anywhere: where addresses are drawn from 2^32 places, one draw in four is where the memory of older
    // sanitizers is to lie.
    let checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-pie", "-no-pie"];
    run(Command::new(compiler)
        .args(["-std=c++17", "-O0", "-g1", "-w", "-ffp-contract=off", "-fno-strict-aliasing"])
        .args(checks)
        .arg("-I")
        .arg(package.join("kernels"))
        .arg(package.join("tests/sanitizers.cpp"))
        .arg("-o")
        .arg(&program.0));
    // Fibers have stacks of their own, which the check of returned frames does not know.
    let text = run(Command::new(&program.0).env("ASAN_OPTIONS", "detect_stack_use_after_return=0"));
    assert!(text.contains(" 0 failures"), "{text}");
}
