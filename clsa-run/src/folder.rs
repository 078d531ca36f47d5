//! A run's folder: where each of its files is, and how runs are found.

use crate::checkpoint::{self, Checkpoint, CheckpointError, Position};
use crate::config::{Config, ConfigError};
use crate::shell::shell_word;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thiserror::Error;

/// Name of the folder of checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// A run's folder.
///
/// # Examples
/// ```
/// use clsa_run::{Config, LockedRun, RunFolder};
///
/// let root = tempfile::tempdir()?;
/// let path = root.path().join("first");
/// LockedRun::begin(&path)?.write_config(&Config::load("demo", &[])?)?;
/// let run = RunFolder::newest(root.path())?;
/// assert_eq!(run.path(), path);
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
    #[error("{}: this folder holds a run already; name another folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is writing the run.
    #[error("{}: this run is in use by {holder}; wait until that ends, or name another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, its machine, and since when, as far as it is known.
        holder: String,
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
            Self::Occupied { .. } | Self::InUse { .. } | Self::NotARun { .. } | Self::Config { .. } => true,
            Self::Checkpoint(error) => error.is_request(),
            Self::Io { .. } => false,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

impl RunFolder {
    /// The folder at a path, whatever is there.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
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
            let checkpoint = checkpoint.map(|(_, path)| path);
            (modified(&checkpoint.unwrap_or_else(|| run.config_file())), run.path.clone())
        });
        newest.ok_or_else(|| RunError::NotARun {
            path: runs.to_owned(),
            reason: "there is no run in this folder; pretrain one, or name a run's folder".to_owned(),
        })
    }

    /// The run that `path` means: a run's folder, or one of its checkpoints, which is returned too.
    ///
    /// # Errors
    /// It is neither.
    pub fn of_checkpoint_or_run(path: &Path) -> Result<(Self, Option<PathBuf>), RunError> {
        let not_a_run = |reason: &str| RunError::NotARun { path: path.to_owned(), reason: reason.to_owned() };
        if !path.is_file() {
            let run = Self::at(path);
            return match run.config_file().is_file() {
                true => Ok((run, None)),
                false => Err(not_a_run(
                    "this is neither a run (a folder with config.toml) nor a checkpoint; name one of them",
                )),
            };
        }
        let absolute = std::path::absolute(path).map_err(RunError::io(path))?;
        let folder = absolute.parent().filter(|folder| folder.file_name().is_some_and(|name| name == CHECKPOINTS));
        // As it was named, where the name has the folder in it.
        let named = path.parent().and_then(Path::parent).filter(|run| !run.as_os_str().is_empty());
        let run = folder.and_then(Path::parent).map(|run| Self::at(named.unwrap_or(run)));
        match run.filter(|run| run.config_file().is_file()) {
            None => Err(not_a_run(
                "this file is not in the folder checkpoints of a run; name a run, or a checkpoint where its run has it",
            )),
            Some(_) if path.extension().is_none_or(|end| end != "safetensors") => {
                Err(not_a_run("this file is not a checkpoint, whose name ends with .safetensors; name one that is"))
            }
            Some(run) => Ok((run, Some(path.to_owned()))),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as it is typed in a shell.
    pub fn typed(&self) -> String {
        shell_word(&self.path.display().to_string())
    }

    /// `config.toml`, the resolved configuration.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `data.json`, see [`DataIdentity`](crate::DataIdentity).
    pub fn data_file(&self) -> PathBuf {
        self.path.join("data.json")
    }

    /// `metrics.jsonl`, see [`Metrics`](crate::Metrics).
    pub fn metrics_file(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `metrics.csv`, the same as a table, where `log.csv` asks for it.
    pub fn metrics_csv(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// `tensorboard/`, the same scalars as events; pictures of views, and the files of the embedding projector.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// `tensorboard/projector/`, the features, names and thumbnails that TensorBoard's embedding projector shows.
    pub fn projector(&self) -> PathBuf {
        self.tensorboard().join("projector")
    }

    /// The folders in which a training writes files.
    pub(crate) fn written_to(&self) -> [PathBuf; 4] {
        [self.path.clone(), self.checkpoints(), self.tensorboard(), self.projector()]
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// `eval.json`, the evaluation on the run's own images.
    pub fn evaluation_file(&self) -> PathBuf {
        self.path.join("eval.json")
    }

    /// `export/`, the encoder for use elsewhere.
    pub fn export(&self) -> PathBuf {
        self.path.join("export")
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
        let newest = checkpoint::list(&self.checkpoints())?.pop();
        newest.map(|(_, path)| path).ok_or_else(|| self.has_no_checkpoint())
    }

    /// Where the run stood at its newest checkpoint, of those whose head can be read; the beginning where none can.
    ///
    /// # Errors
    /// There is no checkpoint.
    pub fn newest_position(&self) -> Result<Position, RunError> {
        let all = checkpoint::list(&self.checkpoints())?;
        if all.is_empty() {
            return Err(self.has_no_checkpoint());
        }
        Ok(all.iter().rev().find_map(|(_, path)| Checkpoint::position_of(path)).unwrap_or_default())
    }

    /// Epochs that [`newest_position`](Self::newest_position) has behind it.
    ///
    /// # Errors
    /// There is no checkpoint.
    pub fn epochs_done(&self) -> Result<u64, RunError> {
        Ok(self.newest_position()?.epoch)
    }

    fn has_no_checkpoint(&self) -> RunError {
        RunError::NotARun {
            path: self.path.clone(),
            reason: "this run has no checkpoint yet; let it train until it writes one, or name another run".to_owned(),
        }
    }

    /// How many checkpoints are of later steps than `step`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn checkpoints_after(&self, step: u64) -> Result<usize, RunError> {
        let all = checkpoint::list(&self.checkpoints())?;
        Ok(all.iter().filter(|(at, _)| *at > step).count())
    }

    /// Removes checkpoints: if the run went back to step `after`, those of later steps, except that of step `newest`, which takes
    /// their place; then the oldest, until `keep` are left.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn prune_checkpoints(&self, after: Option<u64>, newest: u64, keep: usize) -> Result<(), RunError> {
        let all = checkpoint::list(&self.checkpoints())?;
        let superseded = |(step, _): &(u64, PathBuf)| *step != newest && after.is_some_and(|after| *step > after);
        let (superseded, mut old): (Vec<_>, Vec<_>) = all.into_iter().partition(superseded);
        old.truncate(old.len().saturating_sub(keep));
        // The latest first: as long as it is there, it is what the run goes on from.
        for (_, path) in superseded.into_iter().rev().chain(old) {
            fs::remove_file(&path).map_err(RunError::io(&path))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_the_superseded_checkpoints_is_the_first_to_go() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::at(folder.path());
        let path = |step: u64| run.checkpoints().join(format!("step-{step:08}.safetensors"));
        // A folder is not removed as a file is.
        fs::create_dir_all(path(5)).unwrap();
        for step in [2, 3, 4, 8] {
            fs::write(path(step), "").unwrap();
        }
        run.prune_checkpoints(Some(2), 4, 9).unwrap_err();
        assert_eq!([2, 3, 4, 5, 8].map(|step| path(step).exists()), [true, true, true, true, false]);
    }
}
