//! A run's folder: where each of its files is, and how runs are made, found and resumed.

use crate::checkpoint::{self, Checkpoint, CheckpointError};
use crate::config::{Config, ConfigError};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thiserror::Error;

/// A run's folder.
///
/// # Examples
/// ```
/// use clsa_run::{Config, RunFolder};
///
/// let root = tempfile::tempdir()?;
/// let run = RunFolder::vacant(&root.path().join("first"))?;
/// run.create(&Config::load("demo", &[])?)?;
/// assert_eq!(RunFolder::newest(root.path())?, run);
/// assert_eq!(run.config()?.train.epochs, 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// A folder that is not the run it is taken for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// A new run is to have a folder that holds one.
    #[error("{}: this folder holds a run already; continue that one, or name another folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A folder or file is not a run, or lacks a part of it.
    #[error("{}: {reason}", path.display())]
    NotARun {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// `config.toml` is not a run's configuration.
    #[error("{}: this is not a run's configuration ({source}); name another run", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// A checkpoint is missing or damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RunError {
    /// Whether what was asked for is wrong, rather than the machine.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Occupied { .. } | Self::NotARun { .. } | Self::Config { .. } => true,
            Self::Checkpoint(error) => error.is_request(),
            Self::Io { .. } => false,
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What a run goes on from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resumption {
    /// The run.
    pub run: RunFolder,
    /// The checkpoint to go on from.
    pub checkpoint: Checkpoint,
    /// The errors of newer checkpoints, which are damaged and were passed over.
    pub skipped: Vec<CheckpointError>,
}

impl RunFolder {
    /// The folder that a new run is to have. Nothing is written before [`RunFolder::create`].
    ///
    /// # Errors
    /// The folder holds a run already.
    pub fn vacant(path: &Path) -> Result<Self, RunError> {
        if path.join("config.toml").exists() {
            return Err(RunError::Occupied { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Makes the folder and writes its configuration.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(&self, config: &Config) -> Result<(), RunError> {
        fs::create_dir_all(self.checkpoints()).map_err(RunError::io(&self.path))?;
        let path = self.config_file();
        clsa_files::write_whole(&path, config.to_toml().as_bytes()).map_err(RunError::io(&path))
    }

    /// Opens the folder of a run.
    ///
    /// # Errors
    /// The folder has no `config.toml`.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let run = Self { path: path.to_owned() };
        let reason = match fs::metadata(run.config_file()) {
            Ok(_) => return Ok(run),
            Err(_) if !path.exists() => "there is no such folder; name a run's folder".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                "this folder is not a run, because it has no config.toml; name a folder that pretraining has made"
                    .to_owned()
            }
            Err(error) => format!("its config.toml cannot be read ({error}); name a folder that can"),
        };
        Err(RunError::NotARun { path: path.to_owned(), reason })
    }

    /// The run in `runs` that was written to last: by its newest checkpoint, or its configuration where it has none.
    ///
    /// # Errors
    /// There is no run in the folder.
    pub fn newest(runs: &Path) -> Result<Self, RunError> {
        let entries = fs::read_dir(runs).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let found = entries.map(|path| Self { path }).filter(|run| run.config_file().is_file());
        let newest = found.max_by_key(|run| {
            let checkpoint = checkpoint::list(&run.checkpoints()).ok().and_then(|mut all| all.pop());
            (modified(&checkpoint.unwrap_or_else(|| run.config_file())), run.path.clone())
        });
        newest.ok_or_else(|| RunError::NotARun {
            path: runs.to_owned(),
            reason: "there is no run in this folder; pretrain one, or name a run's folder".to_owned(),
        })
    }

    /// Opens the run that `path` means, a run folder or one of its checkpoints, and reads the checkpoint to go on from:
    /// the one named, or the newest whole one.
    ///
    /// # Errors
    /// There is no whole checkpoint.
    pub fn resume(path: &Path) -> Result<Resumption, RunError> {
        if path.is_file() {
            let run = path.parent().and_then(Path::parent).map(|folder| Self { path: folder.to_owned() });
            let run = run.ok_or_else(|| RunError::NotARun {
                path: path.to_owned(),
                reason: "this file is not in a run; name a run's folder, or a checkpoint in its folder".to_owned(),
            })?;
            return Ok(Resumption { run, checkpoint: Checkpoint::load(path)?, skipped: Vec::new() });
        }
        let run = Self { path: path.to_owned() };
        if !run.config_file().is_file() {
            let reason =
                "this is neither a run (a folder with config.toml) nor a checkpoint; name one of them".to_owned();
            return Err(RunError::NotARun { path: path.to_owned(), reason });
        }
        let (checkpoint, skipped) = Checkpoint::newest(&run.checkpoints())?;
        Ok(Resumption { run, checkpoint, skipped })
    }

    /// `runs/PRESET-YYYYMMDD-HHMMSS` (UTC), with a number appended where that exists.
    pub fn default_path(preset: &str) -> PathBuf {
        let preset = Path::new(preset).file_stem().and_then(|n| n.to_str()).unwrap_or("run");
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let now: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("{preset}-{}", now.trim_end_matches('Z').replace('T', "-"));
        let numbered = |i: u32| if i == 0 { name.clone() } else { format!("{name}-{i}") };
        (0..).map(|i| Path::new("runs").join(numbered(i))).find(|path| !path.exists()).expect("some number is free")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`, the resolved configuration.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `metrics.jsonl`, see [`Metrics`](crate::Metrics).
    pub fn metrics_file(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `tensorboard/`, the same scalars as events.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// `eval.json`, the evaluation on the run's own images.
    pub fn evaluation_file(&self) -> PathBuf {
        self.path.join("eval.json")
    }

    /// `report.html`.
    pub fn report_file(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// `config.toml` cannot be read, or is not a run's configuration.
    pub fn config(&self) -> Result<Config, RunError> {
        let path = self.config_file();
        let text = fs::read_to_string(&path).map_err(RunError::io(&path))?;
        Config::parse("config.toml", &text, &[]).map_err(|error| RunError::Config { path, source: Box::new(error) })
    }

    /// The newest checkpoint: that of the highest step. Its content is not looked at.
    ///
    /// # Errors
    /// There is none.
    pub fn newest_checkpoint(&self) -> Result<PathBuf, RunError> {
        checkpoint::list(&self.checkpoints())?.pop().ok_or_else(|| RunError::NotARun {
            path: self.path.clone(),
            reason: "this run has no checkpoint yet; let it train until it writes one, or name another run".to_owned(),
        })
    }

    /// Removes the checkpoints later than `step`: a run that goes on from an earlier one writes them again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn drop_checkpoints_after(&self, step: u64) -> Result<(), RunError> {
        for path in checkpoint::list(&self.checkpoints())? {
            if Checkpoint::step_of(&path).is_some_and(|s| s > step) {
                fs::remove_file(&path).map_err(RunError::io(&path))?;
            }
        }
        Ok(())
    }

    /// The evaluations in the folder: `eval.json` of the run's own images first, then `eval-NAME.json` of others.
    pub fn evaluations(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
        let is_other = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("eval-") && name.ends_with(".json")
        };
        let mut others: Vec<_> = entries.filter(is_other).collect();
        others.sort();
        let own = self.evaluation_file();
        own.is_file().then_some(own).into_iter().chain(others).collect()
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
