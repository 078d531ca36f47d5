//! Processes that are killed at any moment, and begun again.

use super::subject::{self, clsa};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is packed.
const IMAGES: &str = "procedural:classes=4,train=512,test=64,side=32";

/// Runs the campaign: so many kills while training, evaluating and packing each.
pub fn run(rounds: u64, seed: u64) -> Result<u8, String> {
    let folder = subject::prepare("kill")?;
    let mut chance = Chance(seed.max(1));
    let whole = folder.join("whole");
    let took = timed(&mut subject::pretrain(&whole))?;
    let end = subject::end_of(&whole)?;

    let (mut kills, mut runs) = (0, 0);
    while kills < rounds {
        let run = folder.join(format!("run-{runs}"));
        kills += train(&run, took, &mut chance)?;
        if subject::end_of(&run)? != end {
            return Err(format!("{} ends with other bits than a run that was never killed", run.display()));
        }
        no_leftovers(&run)?;
        no_leftovers(&run.join("checkpoints"))?;
        fs::remove_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
        runs += 1;
    }
    let evaluations = repeat(rounds, &mut chance, &folder, |out| {
        let mut command = clsa(&["eval", "--protocol", "knn,linear-features", "--k", "3", "--run"]);
        command.arg(&whole).arg("--cache").arg(out).arg("--out").arg(out.join("eval.json"));
        (command, vec!["features"])
    })?;
    let packs = repeat(rounds, &mut chance, &folder, |out| {
        // What an interrupted packing leaves is named, and left to the user.
        let _ = fs::remove_dir_all(out.join("shards.part"));
        let out = out.join("shards");
        // Killed after its last file had its name, it had ended.
        let done = out.exists();
        let mut command = clsa(if done { &["data", "info"] } else { &["data", "pack", "--shard-size", "1", IMAGES] });
        command.arg(if done { OsString::from(IMAGES) } else { out.into_os_string() });
        (command, Vec::new())
    })?;
    crate::show(&format!(
        "kill: {kills} kills in {runs} runs, {evaluations} in evaluations, {packs} while packing; nothing lost, the same bits at the \
         end\n"
    ));
    Ok(0)
}

/// Trains to the end, killed at random moments, and returns how often.
fn train(run: &Path, took: Duration, chance: &mut Chance) -> Result<u64, String> {
    let mut kills = 0;
    loop {
        let begun =
            run.join("checkpoints").read_dir().is_ok_and(|mut all| all.any(|entry| entry.is_ok_and(is_checkpoint)));
        let mut command = if begun {
            let mut command = clsa(&["pretrain", "--resume"]);
            command.arg(run);
            command
        } else {
            // Before its first checkpoint a run has nothing to lose, and is begun again.
            let _ = fs::remove_dir_all(run);
            subject::pretrain(run)
        };
        match killed(&mut command, chance.up_to(took))? {
            None => kills += 1,
            Some(0) => return Ok(kills),
            Some(code) => return Err(format!("{}: resumed after a kill, it ended with code {code}", run.display())),
        }
    }
}

fn is_checkpoint(entry: fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with("step-")
}

/// Kills a command at random moments and repeats it until it ends by itself, often enough for `rounds` kills; what it has written
/// must be what it writes undisturbed. `make` gives the command for a folder, and what in it is only kept for the next time.
fn repeat(
    rounds: u64,
    chance: &mut Chance,
    folder: &Path,
    make: impl Fn(&Path) -> (Command, Vec<&'static str>),
) -> Result<u64, String> {
    let whole = folder.join("undisturbed");
    let out = folder.join("disturbed");
    let mut kills = 0;
    fs::create_dir_all(&whole).map_err(|error| error.to_string())?;
    let (mut command, kept) = make(&whole);
    let took = timed(&mut command)?;
    let expected = contents(&whole, &kept)?;
    while kills < rounds {
        fs::create_dir_all(&out).map_err(|error| error.to_string())?;
        loop {
            match killed(&mut make(&out).0, chance.up_to(took))? {
                None => kills += 1,
                Some(0) => break,
                Some(code) => return Err(format!("{:?}: after a kill it ended with code {code}", make(&out).0)),
            }
        }
        if contents(&out, &kept)? != expected {
            return Err(format!("{} differs from {}", out.display(), whole.display()));
        }
        fs::remove_dir_all(&out).map_err(|error| error.to_string())?;
    }
    fs::remove_dir_all(&whole).map_err(|error| error.to_string())?;
    Ok(kills)
}

/// Names and contents of a folder's files, without times; hidden files count, but for locks.
fn contents(folder: &Path, kept: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if kept.contains(&name.as_str()) {
            no_leftovers(&path)?;
        } else if path.is_dir() {
            all.extend(contents(&path, &[])?.into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            all.push((name, without_times(bytes)));
        }
    }
    all.sort();
    Ok(all)
}

/// An evaluation without the lines that say how long it took.
fn without_times(bytes: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with('{') => {
            let lines = text.lines().filter(|line| !line.contains("\"wall_time_s\""));
            lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn no_leftovers(folder: &Path) -> Result<(), String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    match entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/.writing-")) {
        Some(left) => Err(format!("{} was left", left.display())),
        None => Ok(()),
    }
}

/// Runs a command to its end, and returns how long it took.
fn timed(command: &mut Command) -> Result<Duration, String> {
    let start = Instant::now();
    match crate::code(command)? {
        0 => Ok(start.elapsed()),
        code => Err(format!("{command:?} ended with code {code}")),
    }
}

/// Kills a command after a time, and returns its exit code if it had ended before.
fn killed(command: &mut Command, after: Duration) -> Result<Option<i32>, String> {
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let start = Instant::now();
    while start.elapsed() < after {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status.code().unwrap_or(1)));
        }
        sleep(Duration::from_millis(1));
    }
    child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
    Ok(None)
}

/// Random numbers by xorshift.
struct Chance(u64);

impl Chance {
    /// A time up to one and a half of a time, so that some runs end before.
    fn up_to(&mut self, time: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        time.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64 * 1.5)
    }
}
