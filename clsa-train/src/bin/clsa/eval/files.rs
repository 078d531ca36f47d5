//! Where an evaluation is written.

use crate::failure::{Failure, request};
use crate::subject::Subject;
use clsa_data::are_same;
use clsa_eval::evaluation::Evaluation;
use clsa_eval::hashes::joined_hash;
use clsa_model::FeatureStage;
use std::path::{Path, PathBuf};

/// The usual file: in the run, or in the current folder; its name tells of other images than the run's and of a stage.
pub fn usual(data: Option<&str>, subject: &Subject) -> PathBuf {
    let stage =
        Some(&subject.stage).filter(|stage| **stage != FeatureStage::Backbone).map(|stage| short(&stage.to_string()));
    match &subject.run {
        Some((run, config)) => {
            let other = data.filter(|data| !are_same(data, &config.data.source));
            let parts = [other.map(short), stage];
            let name: String = parts.into_iter().flatten().map(|part| format!("-{part}")).collect();
            if name.is_empty() { run.evaluation_file() } else { run.path().join(format!("eval{name}.json")) }
        }
        None => {
            let stage = stage.map(|stage| format!(".{stage}")).unwrap_or_default();
            format!("{}{stage}.eval.json", subject.file_name()).into()
        }
    }
}

/// The file for this evaluation: the usual one, or another beside it where that is of other images or weights. (A run's own
/// earlier checkpoint gives way to the later one.)
pub fn for_evaluation(usual: &Path, subject: &Subject, evaluation: &Evaluation) -> PathBuf {
    let from_run = subject.run.is_some();
    let is_other = |earlier: Evaluation| {
        earlier.data_sha256 != evaluation.data_sha256
            || (!from_run && earlier.encoder_sha256 != evaluation.encoder_sha256)
    };
    if !Evaluation::read(usual).is_ok_and(is_other) {
        return usual.to_owned();
    }
    let weights = (!from_run).then_some(&evaluation.encoder_sha256);
    let hash = joined_hash([Some(&evaluation.data_sha256), weights].into_iter().flatten());
    let name = usual.file_stem().unwrap_or_default().to_string_lossy();
    usual.with_file_name(format!("{name}-{}.json", &hash[..8]))
}

/// Checks that a file that is there is an earlier evaluation, which a new one may replace.
pub fn check_replaceable(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        Evaluation::read(path).map_err(|error| request(format!("{error}, or name another file with --out")))?;
    }
    Ok(())
}

/// A source or a stage as part of a file's name: its kind and the last part of its path.
fn short(name: &str) -> String {
    let (kind, path) = name.split_once(':').unwrap_or((name, ""));
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = if last.is_empty() { kind.to_owned() } else { format!("{kind}-{last}") };
    name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect()
}
