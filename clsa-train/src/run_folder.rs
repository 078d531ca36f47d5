//! A run on disk: `config.toml`, `metrics.jsonl`, `tensorboard/`, `checkpoints/`.

use crate::checkpoint::{self, Checkpoint, CheckpointError, write_whole};
use crate::config::Config;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
}

impl RunFolder {
    /// The folder that a new run is to have. Nothing is written before [`RunFolder::create`].
    ///
    /// # Errors
    /// The folder holds a run already.
    pub fn vacant(path: &Path) -> Result<Self> {
        if path.join("config.toml").exists() {
            let named = path.display();
            anyhow::bail!("--out {named}: this folder holds a run; continue it with --resume {named} or name another");
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Makes the folder and writes its configuration.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(&self, config: &Config) -> Result<()> {
        fs::create_dir_all(self.checkpoints()).with_context(|| self.path.display().to_string())?;
        Ok(write_whole(&self.path.join("config.toml"), config.to_toml().as_bytes())?)
    }

    /// Opens the run that `path` means, a run folder or one of its checkpoints, and reads the checkpoint to go on from.
    ///
    /// # Errors
    /// There is no whole checkpoint.
    pub fn resume(path: &Path) -> Result<(Self, Checkpoint, Vec<CheckpointError>)> {
        if path.is_file() {
            let run = path.parent().and_then(Path::parent);
            let run = run.with_context(|| format!("--resume {}: the file is not in a run", path.display()))?;
            return Ok((Self { path: run.to_owned() }, Checkpoint::load(path)?, Vec::new()));
        }
        anyhow::ensure!(
            path.join("config.toml").is_file(),
            "--resume {}: this is neither a run (a folder with config.toml) nor a checkpoint",
            path.display()
        );
        let (checkpoint, passed) = Checkpoint::newest(&path.join("checkpoints"))?;
        Ok((Self { path: path.to_owned() }, checkpoint, passed))
    }

    /// Removes the checkpoints later than `step`: a run that goes on from an earlier one writes them again.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn drop_checkpoints_after(&self, step: u64) -> Result<()> {
        for path in checkpoint::list(&self.checkpoints())? {
            let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
            if name.trim_start_matches("step-").parse::<u64>().is_ok_and(|s| s > step) {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
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
