//! Processes that are killed at any moment, and begun again.

use super::chance::Chance;
use super::folder::{contents, no_leftovers};
use super::subject::{self, IMAGES, clsa};
use crate::files::{make_folder, remove_folder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Runs the campaign: so many kills while training, evaluating, embedding, packing and indexing each.
pub fn run(rounds: u64, seed: u64) -> Result<u8, String> {
    let folder = subject::prepare("kill")?;
    let mut chance = Chance::new(seed);
    let whole = folder.join("whole");
    let took = subject::timed(&mut subject::pretrain(&whole))?;
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
        remove_folder(&run)?;
        runs += 1;
    }
    let evaluations = repeat(rounds, &mut chance, &folder, &["features"], |out| subject::evaluate(&whole, out))?;
    let embeddings = repeat(rounds, &mut chance, &folder, &[], |out| subject::embed(&whole, out))?;
    let packs = repeat(rounds, &mut chance, &folder, &[], |out| {
        let out = out.join("shards");
        // Killed after its last file had its name, it had ended.
        if out.exists() { clsa(&["data", "info", IMAGES]) } else { subject::pack(&out) }
    })?;
    let packed = folder.join("packed");
    subject::timed(&mut subject::pack(&packed))?;
    let indexings = repeat(rounds, &mut chance, &folder, &[], |out| {
        clsa(&["data", "index", &format!("wds:{}", link_shards(&packed, out).display())])
    })?;
    crate::show(&format!(
        "kill: {kills} kills in {runs} runs, {evaluations} in evaluations, {embeddings} while embedding, {packs} while packing, \
         {indexings} while indexing; nothing lost, the same bits at the end\n"
    ));
    Ok(0)
}

/// A folder in `out` with the shards of another one, without their indexes.
fn link_shards(packed: &Path, out: &Path) -> PathBuf {
    let shards = out.join("shards");
    let _ = fs::create_dir(&shards);
    for entry in fs::read_dir(packed).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|end| end == "tar") {
            let _ = fs::hard_link(entry.path(), shards.join(entry.file_name()));
        }
    }
    shards
}

/// Trains to the end, killed at random moments, and returns how often.
fn train(run: &Path, took: Duration, chance: &mut Chance) -> Result<u64, String> {
    let mut kills = 0;
    loop {
        let mut command = subject::go_on(run);
        match killed(&mut command, chance.up_to(took))? {
            None => kills += 1,
            Some(0) => return Ok(kills),
            Some(code) => return Err(format!("{}: resumed after a kill, it ended with code {code}", run.display())),
        }
    }
}

/// Kills a command at random moments and repeats it until it ends by itself, often enough for `rounds` kills; what it has written
/// must be what it writes undisturbed. `make` gives the command for a folder, in which `kept` folders only help the next time.
fn repeat(
    rounds: u64,
    chance: &mut Chance,
    folder: &Path,
    kept: &[&str],
    make: impl Fn(&Path) -> Command,
) -> Result<u64, String> {
    let whole = folder.join("undisturbed");
    let out = folder.join("disturbed");
    let mut kills = 0;
    make_folder(&whole)?;
    let took = subject::timed(&mut make(&whole))?;
    let expected = contents(&whole, kept)?;
    while kills < rounds {
        make_folder(&out)?;
        loop {
            match killed(&mut make(&out), chance.up_to(took))? {
                None => kills += 1,
                Some(0) => break,
                Some(code) => return Err(format!("{:?}: after a kill it ended with code {code}", make(&out))),
            }
        }
        if contents(&out, kept)? != expected {
            return Err(format!("{} differs from {}", out.display(), whole.display()));
        }
        remove_folder(&out)?;
    }
    remove_folder(&whole)?;
    Ok(kills)
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
