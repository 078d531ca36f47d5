//! Inputs that a fuzzer makes, for every parser.

use crate::files::{at, make_folder};
use crate::{cargo, code, root, target};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What makes libFuzzer see which code an input reaches.
const COVERAGE: &str = "--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// The variable that names the parser to the fuzz target.
const PARSER: &str = "CLSA_FUZZ_PARSER";
/// The variable that names a Python with Pillow to it.
const PYTHON: &str = "CLSA_FUZZ_PYTHON";
/// An input that takes longer is a fault.
const SLOWEST_S: u64 = 20;

/// How long a parser is fuzzed; what ends first counts.
pub struct Bounds {
    pub seconds: u64,
    pub inputs: u64,
}

/// Runs the campaign on one parser or all.
pub fn run(parser: Option<&str>, bounds: &Bounds, python: Option<&str>) -> Result<u8, String> {
    let all = parsers()?;
    let chosen = match parser {
        None => all,
        Some(name) if all.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => {
            tell!("error: --parser {name}: use one of {}", all.join(", "));
            return Ok(2);
        }
    };
    let python = match python {
        Some(path) if !has_pillow(path) => {
            tell!("error: --python {path}: it has no Pillow; name a Python that has");
            return Ok(2);
        }
        Some(path) => Some(path),
        None => Some("python3").filter(|path| has_pillow(path)),
    };
    let program = build()?;
    for parser in chosen {
        fuzz(&program, &parser, bounds, python)?;
    }
    Ok(0)
}

/// The parsers, which have a folder of seeds each.
fn parsers() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/corpus");
    let entries = fs::read_dir(&folder).map_err(at(&folder))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Fuzzes a parser. What reached new code is kept for the next time.
fn fuzz(program: &Path, parser: &str, bounds: &Bounds, python: Option<&str>) -> Result<(), String> {
    let folder = target().join("soak/fuzz").join(parser);
    let corpus = folder.join("corpus");
    make_folder(&corpus)?;
    let log = folder.join("log");
    let output = File::create(&log).map_err(at(&log))?;
    let mut command = Command::new(program);
    command.env(PARSER, parser);
    command.arg(format!("-max_total_time={}", bounds.seconds)).arg(format!("-runs={}", bounds.inputs));
    command.arg(format!("-timeout={SLOWEST_S}")).args(["-print_final_stats=1", "-rss_limit_mb=0"]);
    command.arg(format!("-artifact_prefix={}/", folder.display()));
    // libFuzzer shows where it was; the memory that is left may not do for a backtrace.
    command.env("RUST_BACKTRACE", "0");
    command.arg(&corpus).arg(root().join("fuzz/corpus").join(parser)).stdout(Stdio::null()).stderr(output);
    let compared = match (parser, python) {
        ("jpeg", Some(python)) => {
            command.env(PYTHON, python);
            ", what is read compared with Pillow"
        }
        ("jpeg", None) => ", not compared with Pillow, which python3 does not have (--python names one)",
        _ => "",
    };
    let start = Instant::now();
    let ended = code(&mut command)?;
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    if ended != 0 {
        return Err(fault(parser, program, &log, &text));
    }
    let inputs =
        text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("?").trim();
    let seconds = start.elapsed().as_secs();
    crate::show(&format!("fuzz {parser}: {inputs} inputs in {seconds} s, no fault{compared}\n"));
    Ok(())
}

/// Builds the fuzz target in a folder of its own.
fn build() -> Result<PathBuf, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    let version = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    let folder = target().join("fuzz");
    let mut build = cargo();
    // With a target named, build scripts and macros are left as they are.
    build.args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "clsa-fuzz",
        "--features",
        "libfuzzer",
        "--target",
        host,
    ]);
    build.args(["--bin", "parser", "--target-dir"]).arg(&folder).env("RUSTFLAGS", COVERAGE);
    match code(&mut build)? {
        0 => Ok(folder.join(host).join("release/parser")),
        _ => Err("the fuzz target did not build, as said above; among what it needs is a C++ compiler".to_owned()),
    }
}

/// What was found, and how to see it again.
fn fault(parser: &str, program: &Path, log: &Path, text: &str) -> String {
    let reason = text.lines().find(|line| line.contains("panicked at")).map_or_else(
        || text.lines().find(|line| line.contains("ERROR")).unwrap_or("it ended").to_owned(),
        |line| format!("{line} {}", text.lines().skip_while(|other| *other != line).nth(1).unwrap_or_default()),
    );
    let input = text.lines().find_map(|line| line.split("Test unit written to ").nth(1)).unwrap_or("an input");
    let again = format!("{PARSER}={parser} {} {input}", program.display());
    format!("fuzz {parser}: {reason}; `{again}` shows it again, {} is the log", log.display())
}

/// Whether a Python has Pillow.
fn has_pillow(python: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import PIL"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
