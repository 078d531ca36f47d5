//! Runs of a second or so, and what they leave.
#![allow(dead_code, reason = "each test uses some")]

mod program;
mod settings;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use program::*;
pub use settings::*;

pub fn pretrain(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().arg("pretrain").args(TINY).arg("--out").arg(out).args(more).assert()
}

pub fn resume(run: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    clsa().arg("pretrain").arg("--resume").arg(run).args(more).assert()
}

pub fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}.safetensors"))
}

/// Bytes of all tensors of a checkpoint by name; the file itself also holds its run's configuration.
pub fn tensors(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(checkpoint).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec())).collect()
}

pub fn records(run: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}
