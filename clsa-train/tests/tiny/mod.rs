//! Runs of a second or so, and what they leave.

mod program;
mod settings;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

pub use program::*;
pub use settings::TINY;

pub fn pretrain(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().arg("pretrain").args(TINY).arg("--out").arg(out).args(more).assert()
}

pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

pub fn records(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}
