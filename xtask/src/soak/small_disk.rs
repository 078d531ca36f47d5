//! A small file system of its own, which is full when a campaign wants it to be.

use super::chance::Chance;
use crate::files::at;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "CLSA_SOAK_INSIDE";

/// Several times what any of the commands needs.
const OPTIONS: &str = "size=64m";

/// What the file system gives at the least.
const PAGE: u64 = 4096;

/// What a command may take at the most, on a slow machine too.
const LONGEST: Duration = Duration::from_secs(300);

/// A small file system.
pub struct SmallDisk {
    folder: PathBuf,
    ballast: PathBuf,
    /// What the command under test has said.
    said: PathBuf,
}

/// When the disk is full, and for how long.
pub struct Filling {
    /// None: before the command begins.
    after: Option<Duration>,
    /// Bytes that are left.
    free: u64,
    /// None: until the command has ended.
    lasts: Option<Duration>,
}

impl Filling {
    /// A random one for a command that takes so long and writes so many bytes: half of the time at a random moment with next to
    /// nothing left, else from the beginning with room for a part of what is written.
    pub fn random(chance: &mut Chance, took: Duration, bytes: u64) -> Self {
        let (after, free) = match chance.below(2) {
            0 => (Some(chance.up_to(took)), chance.below(16) * PAGE),
            _ => (None, chance.below(bytes / PAGE + 1) * PAGE),
        };
        let lasts = (chance.below(3) == 0).then(|| chance.up_to(took));
        Self { after, free, lasts }
    }

    /// One that leaves nothing, from before the command begins until it has ended.
    pub fn complete() -> Self {
        Self { after: None, free: 0, lasts: None }
    }
}

/// What came of a command on a disk that was to be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended with 0.
    Done,
    /// It said that the disk is full, and ended with 1.
    Full,
}

/// Whether this process has mounts of its own.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Becomes the same campaign with mounts of its own, which vanish with it, whatever happens. Returns where that is not allowed.
pub fn go_inside(folder: &Path, args: &[&str]) -> Result<u8, String> {
    for rights in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
        let mut attempt = Command::new("unshare");
        attempt.args(rights).args(["mount", "-t", "tmpfs", "-o", OPTIONS, "tmpfs"]).arg(folder);
        attempt.stdout(Stdio::null()).stderr(Stdio::null());
        if attempt.status().is_ok_and(|status| status.success()) {
            let this = env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new("unshare");
            command.args(rights).arg(this).args(["soak"]).args(args).env(INSIDE, folder);
            return crate::replace_by(command);
        }
    }
    tell!(
        "error: this machine does not let a process mount a file system of its own (`unshare --mount`); run the campaign as root, or \
         where user namespaces are allowed"
    );
    Ok(2)
}

impl SmallDisk {
    /// Mounts it. Its folder was given by [`go_inside`].
    pub fn mount() -> Result<Self, String> {
        let folder = PathBuf::from(env::var_os(INSIDE).unwrap_or_default());
        let mut mount = Command::new("mount");
        if crate::code(mount.args(["-t", "tmpfs", "-o", OPTIONS, "tmpfs"]).arg(&folder))? != 0 {
            return Err(format!("{}: nothing could be mounted there", folder.display()));
        }
        Ok(Self { ballast: folder.join("ballast"), said: folder.with_extension("said"), folder })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command while the disk is full as asked for, and checks how it ends: in a bounded time, with 0, or with 1 and one
    /// sentence that names a file and says what is wrong. The disk has room again when this returns.
    pub fn run(&self, command: &mut Command, filling: &Filling) -> Result<Ended, String> {
        let log = File::create(&self.said).map_err(at(&self.said))?;
        let (mut fill_at, mut room_at) = (filling.after, None);
        if fill_at.is_none() {
            self.fill(filling.free)?;
            room_at = filling.lasts;
        }
        let mut child = command.stderr(log).spawn().map_err(|error| error.to_string())?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            let now = start.elapsed();
            if fill_at.is_some_and(|at| now >= at) {
                self.fill(filling.free)?;
                fill_at = None;
                room_at = filling.lasts.map(|lasts| now + lasts);
            }
            if room_at.is_some_and(|at| now >= at) {
                self.make_room()?;
                room_at = None;
            }
            if now > LONGEST {
                child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
                return Err(format!("{command:?} did not end on a full disk"));
            }
            sleep(Duration::from_millis(1));
        };
        self.make_room()?;
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        match status.code() {
            Some(0) => Ok(Ended::Done),
            Some(1) if self.is_one_sentence(&said) => Ok(Ended::Full),
            _ => Err(format!("{command:?} ended on a full disk with {status}, and said: {said}")),
        }
    }

    /// What a command says that ends with 0.
    pub fn said_by(&self, command: &mut Command) -> Result<String, String> {
        let log = File::create(&self.said).map_err(at(&self.said))?;
        let status = command.stderr(log).status().map_err(|error| error.to_string())?;
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        if status.success() { Ok(said) } else { Err(format!("{command:?} ended with {status}, and said: {said}")) }
    }

    /// Whether the last line, and no other, is an error that names a file on this disk and says that there is no room.
    fn is_one_sentence(&self, said: &str) -> bool {
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error:")).collect();
        let folder = format!("{}/", self.folder.display());
        said.lines()
            .next_back()
            .is_some_and(|last| errors == [last] && last.contains(&folder) && last.contains("No space left on device"))
            && !said.contains("panicked")
    }

    /// Fills the disk but for so many bytes.
    fn fill(&self, free: u64) -> Result<(), String> {
        let fill = || {
            let mut file = File::create(&self.ballast)?;
            let zeros = [0; 16 * PAGE as usize];
            loop {
                match file.write(&zeros) {
                    Ok(count) if count > 0 => {}
                    Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(error),
                    _ => break,
                }
            }
            file.set_len(file.metadata()?.len().saturating_sub(free))
        };
        fill().map_err(at(&self.ballast))
    }

    fn make_room(&self) -> Result<(), String> {
        match fs::remove_file(&self.ballast) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.ballast)(error)),
            _ => Ok(()),
        }
    }
}
