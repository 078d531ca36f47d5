//! The right to write a run's folder, which one process has at a time.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::Config;
use crate::folder::{RunError, RunFolder};
use clsa_files::is_at;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a run goes on from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resumption {
    /// The run.
    pub run: LockedRun,
    /// The checkpoint to go on from.
    pub checkpoint: Checkpoint,
    /// The configuration to go on with, as TOML: that of `config.toml`, or of the checkpoint where one is named.
    pub config: String,
    /// The file that the configuration is from.
    pub config_file: PathBuf,
    /// The errors of newer checkpoints, which are damaged and were passed over.
    pub skipped: Vec<CheckpointError>,
}

/// The file in a run's folder that is locked. It stays: what counts is the lock, which ends with its process.
const LOCK: &str = ".lock";

/// A run's folder that this process alone writes, as long as this exists.
///
/// # Examples
/// ```
/// use clsa_run::{Config, LockedRun, RunError, RunFolder};
///
/// let root = tempfile::tempdir()?;
/// let path = root.path().join("first");
/// let run = LockedRun::begin(&path)?;
/// assert!(matches!(LockedRun::begin(&path), Err(RunError::InUse { .. })));
/// run.write_config(&Config::load("demo", &[])?)?;
/// assert_eq!(RunFolder::newest(root.path())?.config()?.train.epochs, 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LockedRun {
    folder: RunFolder,
    /// Whether this made the folder.
    made: bool,
    /// Locked; none where the file system has no locks.
    lock: Option<File>,
}

impl LockedRun {
    /// Begins a run in a folder, which is made if it is not there. Dropped before [`LockedRun::write_config`], it removes what it
    /// made.
    ///
    /// # Errors
    /// The folder holds a run already, another process is writing it, or it cannot be written.
    pub fn begin(path: &Path) -> Result<Self, RunError> {
        let made = !path.exists();
        fs::create_dir_all(path).map_err(RunError::io(path))?;
        Self::vacant(path, made)
    }

    /// Begins a run in `runs/PRESET-YYYYMMDD-HHMMSS` (UTC), with a number appended where another run has that.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin_in_runs(preset: &str) -> Result<Self, RunError> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).map_err(RunError::io(runs))?;
        let preset = Path::new(preset).file_stem().and_then(|name| name.to_str()).unwrap_or("run");
        let now: String = now().chars().filter(char::is_ascii_alphanumeric).collect();
        let name = format!("{preset}-{}", now.trim_end_matches('Z').replace('T', "-"));
        for number in 0.. {
            let path = runs.join(if number == 0 { name.clone() } else { format!("{name}-{number}") });
            match fs::create_dir(&path) {
                Ok(()) => return Self::vacant(&path, true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(RunError::io(&path)(error)),
            }
        }
        unreachable!("some number is free")
    }

    fn vacant(path: &Path, made: bool) -> Result<Self, RunError> {
        let folder = RunFolder::at(path);
        let lock = lock(path)?;
        if folder.config_file().exists() {
            return Err(RunError::Occupied { path: path.to_owned() });
        }
        Ok(Self { folder, made, lock })
    }

    /// Opens the run that `path` means, a run's folder or a checkpoint in it, and reads the checkpoint to go on from: the one
    /// named, or the newest whole one. What killed processes left half written is removed; nothing else changes.
    ///
    /// # Errors
    /// This is no run, it has no whole checkpoint or one that cannot be read, or another process is writing it.
    pub fn resume(path: &Path) -> Result<Resumption, RunError> {
        let (folder, named) = RunFolder::of_checkpoint_or_run(path)?;
        let lock = lock(folder.path())?;
        let run = Self { made: false, lock, folder };
        let (checkpoint, skipped, config, config_file) = match named {
            Some(file) => {
                let checkpoint = Checkpoint::load(&file)?;
                let config = checkpoint.config.clone();
                (checkpoint, Vec::new(), config, file)
            }
            None => {
                let (checkpoint, skipped) = Checkpoint::newest(&run.folder.checkpoints())?;
                // The run may have stopped before a checkpoint had what it went on with.
                let file = run.folder.config_file();
                (checkpoint, skipped, fs::read_to_string(&file).map_err(RunError::io(&file))?, file)
            }
        };
        for folder in run.folder.written_to() {
            clsa_files::remove_abandoned(&folder).map_err(RunError::io(&folder))?;
        }
        Ok(Resumption { run, checkpoint, config, config_file, skipped })
    }

    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Whether other processes are kept out: not so on file systems without locks.
    pub fn is_exclusive(&self) -> bool {
        self.lock.is_some()
    }

    /// Writes the run's configuration, in the place of an earlier one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_config(&self, config: &Config) -> Result<(), RunError> {
        let checkpoints = self.folder.checkpoints();
        fs::create_dir_all(&checkpoints).map_err(RunError::io(&checkpoints))?;
        let path = self.folder.config_file();
        clsa_files::write_whole(&path, config.to_file().as_bytes()).map_err(RunError::io(&path))
    }
}

impl Drop for LockedRun {
    fn drop(&mut self) {
        if self.made && !self.folder.config_file().exists() {
            // Nobody is told where this fails: an empty folder does no harm.
            let _ = fs::remove_file(self.folder.path().join(LOCK));
            let _ = fs::remove_dir(self.folder.checkpoints());
            let _ = fs::remove_dir(self.folder.path());
        }
    }
}

/// Locks a folder. None says that its file system has no locks.
fn lock(folder: &Path) -> Result<Option<File>, RunError> {
    let path = folder.join(LOCK);
    let io = || RunError::io(&path);
    loop {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok_and(|bytes| bytes > 0);
                let holder = if known { holder.trim().to_owned() } else { "another process".to_owned() };
                return Err(RunError::InUse { path: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(io()(error)),
        }
        // Its last holder may have removed the file between the opening and the lock.
        if is_at(&file, &path) {
            let write = |file: &mut File| {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                writeln!(file, "process {} on {} since {}", std::process::id(), host(), now())
            };
            write(&mut file).map_err(io())?;
            return Ok(Some(file));
        }
    }
}

/// Whether a lock failed because the file system has none, or because nobody keeps those of a file system of the network (ENOLCK).
fn has_no_locks(error: &io::Error) -> bool {
    // ENOLCK, and on Apple's systems ENOTSUP, which the standard library gives no kind there.
    let codes: &[i32] = if cfg!(target_os = "linux") {
        &[37]
    } else if cfg!(target_vendor = "apple") {
        &[77, 45]
    } else {
        &[]
    };
    error.kind() == ErrorKind::Unsupported || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The name of this machine, which tells the jobs of a cluster apart.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").map_err(io::Error::other));
    name.map_or_else(|_| "this machine".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_written_is_refused_to_others_who_are_told_by_whom() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        let run = LockedRun::begin(&path).unwrap();
        run.write_config(&Config::load("demo", &[]).unwrap()).unwrap();
        for error in [LockedRun::begin(&path).unwrap_err(), LockedRun::resume(&path).unwrap_err()] {
            let holder = format!("process {} on ", std::process::id());
            assert!(error.is_request() && error.to_string().contains(&holder), "{error}");
        }
        drop(run);
        assert!(matches!(LockedRun::begin(&path), Err(RunError::Occupied { .. })));
        assert!(matches!(LockedRun::resume(&path), Err(RunError::Checkpoint(_))), "the lock has ended");
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[test]
    fn a_file_system_whose_locks_nobody_keeps_has_none() {
        // ENOSYS, ENOLCK and ENOTSUP.
        let without = if cfg!(target_vendor = "apple") { [78, 77, 45] } else { [38, 37, 95] };
        let [eio, enospc] = [5, 28];
        let has_none = |code| has_no_locks(&io::Error::from_raw_os_error(code));
        assert!(without.into_iter().all(has_none) && !has_none(eio) && !has_none(enospc));
    }

    #[test]
    fn a_run_that_never_begins_leaves_nothing_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        drop(LockedRun::begin(&root.path().join("a/b")).unwrap());
        assert!(root.path().join("a").is_dir() && !root.path().join("a/b").exists());
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        drop(LockedRun::begin(&other).unwrap());
        assert!(other.is_dir(), "a folder of the user stays");
    }
}
