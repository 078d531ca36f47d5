//! Runs of `clsa-train` on disk: where they are, and what an evaluation needs of their configuration.

use crate::EvalError;
use clsa_augment::View;
use clsa_model::ModelConfig;
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A run's folder and its configuration.
#[derive(Clone, Debug)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// What `config.toml` says.
    pub config: RunConfig,
}

/// The part of a run's `config.toml` that an evaluation needs; the rest is passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct RunConfig {
    /// Shape of the encoders.
    pub model: ModelConfig,
    /// `[train]`.
    pub train: TrainTable,
    /// `[data]`.
    pub data: DataTable,
    /// `[eval]`.
    pub eval: EvalTable,
    /// `[knn]`.
    pub knn: KnnTable,
    /// `[views]`.
    pub views: ViewsTable,
}

/// Of `[train]` in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainTable {
    /// Seed of the initial weights.
    pub seed: u64,
}

/// Of `[data]` in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct DataTable {
    /// The data set that was trained on.
    pub source: String,
}

/// `[eval]` in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct EvalTable {
    /// Short side after resizing, pixels.
    pub resize: u32,
    /// Side of the centre crop, pixels.
    pub crop: u32,
}

/// Of `[knn]` in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct KnnTable {
    /// Neighbours.
    pub k: usize,
    /// Temperature of the votes.
    pub temperature: f64,
}

/// Of `[views]` in `config.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct ViewsTable {
    /// The key view, whose normalisation test images get too.
    pub key: View,
}

impl Run {
    /// Opens a run's folder.
    ///
    /// # Errors
    /// The folder has no `config.toml`, or that is not a run's configuration.
    pub fn open(folder: &Path) -> Result<Self, EvalError> {
        let path = folder.join("config.toml");
        let refused = |reason: String| EvalError::Run { path: folder.to_owned(), reason };
        let text = fs::read_to_string(&path).map_err(|error| {
            refused(match error.kind() {
                ErrorKind::NotFound if !folder.exists() => "there is no such folder; name a run's".to_owned(),
                ErrorKind::NotFound => "this folder is not a run, because it has no config.toml; name one that \
                                        `cargo xtask pretrain` has made"
                    .to_owned(),
                _ => format!("its config.toml cannot be read ({error}); name a folder that can"),
            })
        })?;
        let config = toml::from_str(&text).map_err(|e| {
            let reason = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
            refused(format!("its config.toml is not a run's configuration ({reason}); name another run"))
        })?;
        Ok(Self { folder: folder.to_owned(), config })
    }

    /// The run in `runs` that was written to last: by its newest checkpoint, or its configuration where it has none.
    ///
    /// # Errors
    /// There is no run in the folder.
    pub fn newest(runs: &Path) -> Result<Self, EvalError> {
        let none = || EvalError::Run {
            path: runs.to_owned(),
            reason: "there is no run in this folder; make one with `cargo xtask pretrain`, or name a run's folder"
                .into(),
        };
        let entries = fs::read_dir(runs).map_err(|_| none())?;
        let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|f| f.join("config.toml").is_file());
        let newest = folders.max_by_key(|folder| {
            let checkpoint = checkpoints(folder).pop();
            (modified(&checkpoint.unwrap_or_else(|| folder.join("config.toml"))), folder.clone())
        });
        Self::open(&newest.ok_or_else(none)?)
    }

    /// The evaluations in the folder: `eval.json` of the run's own data first, then `eval-NAME.json` of others.
    pub fn evaluations(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
        let is_other = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("eval-") && name.ends_with(".json")
        };
        let mut others: Vec<_> = entries.filter(is_other).collect();
        others.sort();
        let own = self.folder.join("eval.json");
        own.is_file().then_some(own).into_iter().chain(others).collect()
    }

    /// The newest checkpoint: that of the highest step.
    ///
    /// # Errors
    /// There is none.
    pub fn checkpoint(&self) -> Result<PathBuf, EvalError> {
        checkpoints(&self.folder).pop().ok_or_else(|| EvalError::Run {
            path: self.folder.clone(),
            reason: "this run has no checkpoint yet; let it train until it writes one, or name another run".into(),
        })
    }
}

/// Checkpoints of a run's folder, oldest first.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("checkpoints")).into_iter().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter_map(|path| Some((checkpoint_step(&path)?, path))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The training step that a checkpoint's name tells.
pub(crate) fn checkpoint_step(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
