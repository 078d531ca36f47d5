//! Runs of a second or so, and what they leave.

mod settings;

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub use settings::TINY;

pub fn clsa() -> Command {
    Command::cargo_bin("clsa").unwrap()
}

pub fn pretrain(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().arg("pretrain").args(TINY).arg("--out").arg(out).args(more).assert()
}

pub fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

pub fn records(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}

/// One sentence on the error stream that holds all of `words`, and the exit code.
pub fn refused(assert: assert_cmd::assert::Assert, code: i32, words: &[&str]) {
    let text = stderr(&assert);
    let error = text.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error in {text}"));
    for word in words {
        assert!(error.contains(word), "{error:?} does not name {word:?}");
    }
    assert.code(code);
}
