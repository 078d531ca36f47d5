//! A disk that is full at any moment.

use super::chance::Chance;
use super::folder::{contents, no_leftovers};
use super::small_disk::{self, Ended, Filling, SmallDisk};
use super::subject::{self, clsa};
use crate::files::{at, make_folder, remove_folder, size_of};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Runs the campaign: so many rounds of training, evaluating, packing and indexing each.
pub fn run(rounds: u64, seed: u64) -> Result<u8, String> {
    if !small_disk::is_inside() {
        let mount_point = subject::prepare("disk")?.join("disk");
        fs::create_dir(&mount_point).map_err(at(&mount_point))?;
        return small_disk::go_inside(
            &mount_point,
            &["disk", "--rounds", &rounds.to_string(), "--seed", &seed.to_string()],
        );
    }
    let start = Instant::now();
    let disk = SmallDisk::mount()?;
    let whole = disk.folder().with_file_name("whole");
    let mut chance = Chance::new(seed);
    let trained = train(&disk, &whole, rounds, &mut chance)?;

    let out = disk.folder().join("out");
    let shards = out.join("shards");
    let mut count = |work: Work| repeat(&disk, rounds, &mut chance, &work);
    let evaluated = count(Work {
        command: &|| subject::evaluate(&whole, &out),
        out: &out,
        kept: &["features"],
        clear: &|| empty(&out),
    })?;
    let packed = count(Work { command: &|| subject::pack(&shards), out: &out, kept: &[], clear: &|| empty(&out) })?;
    empty(&out)?;
    subject::timed(&mut subject::pack(&shards))?;
    let indexed = count(Work {
        command: &|| clsa(&["data", "index", &format!("wds:{}", shards.display())]),
        out: &out,
        kept: &[],
        clear: &|| remove_indexes(&shards),
    })?;
    crate::show(&format!(
        "disk: {rounds} rounds each; {trained} trainings, {evaluated} evaluations, {packed} packings and {indexed} indexings failed \
         for lack of room and said so; nothing lost, the same bits at the end ({} s)\n",
        start.elapsed().as_secs()
    ));
    Ok(0)
}

fn remove_indexes(shards: &Path) -> Result<(), String> {
    for file in fs::read_dir(shards).map_err(at(shards))? {
        let path = file.map_err(at(shards))?.path();
        if path.extension().is_some_and(|end| end == "idx") {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Trains on a disk that gets full, goes on when it has room, and returns how often the training failed for lack of it.
fn train(disk: &SmallDisk, whole: &Path, rounds: u64, chance: &mut Chance) -> Result<u64, String> {
    let took = subject::timed(&mut subject::pretrain(whole))?;
    let (end, records, bytes) = (subject::end_of(whole)?, records(whole)?, size_of(whole)?);
    let (run, copied) = (disk.folder().join("run"), whole.with_file_name("copied"));
    let (mut failed, mut round) = (0, 0);
    while round < rounds {
        loop {
            round += 1;
            let filling = if round == 1 { Filling::complete() } else { Filling::random(chance, took, 2 * bytes) };
            if disk.run(&mut subject::go_on(&run), &filling)? == Ended::Done {
                break;
            }
            failed += 1;
            check_parts(&run, whole, &records)?;
            for checkpoint in subject::checkpoints(&run) {
                // One that is named is not passed over where it is damaged.
                copy(&run, &copied)?;
                let checkpoint = copied.join("checkpoints").join(checkpoint.file_name().unwrap_or_default());
                subject::timed(clsa(&["pretrain", "--resume"]).arg(&checkpoint))?;
                check_end(&copied, &end)?;
                remove_folder(&copied)?;
            }
            if chance.below(2) == 0 {
                subject::timed(&mut subject::go_on(&run))?;
                break;
            }
        }
        check_end(&run, &end)?;
        check_parts(&run, whole, &records)?;
        if self::records(&run)? != records {
            return Err(format!("{} has other records than a run on a disk with room", run.display()));
        }
        remove_folder(&run)?;
    }
    Ok(failed)
}

/// Checks that a run ends with these bits.
fn check_end(run: &Path, end: &str) -> Result<(), String> {
    if subject::end_of(run)? == end {
        return Ok(());
    }
    Err(format!("{} ends with other bits than a run on a disk with room", run.display()))
}

/// Checks that what has its name in a run is whole, but for a last record that was cut off.
fn check_parts(run: &Path, whole: &Path, records: &[String]) -> Result<(), String> {
    no_leftovers(run)?;
    no_leftovers(&run.join("checkpoints"))?;
    for name in ["config.toml", "data.json"] {
        let read = |folder: &Path| fs::read(folder.join(name));
        if read(run).is_ok_and(|bytes| !read(whole).is_ok_and(|expected| expected == bytes)) {
            return Err(format!("{} is not whole", run.join(name).display()));
        }
    }
    match self::records(run)?.into_iter().find(|record| !records.contains(record)) {
        Some(record) => Err(format!("{} has the record {record}", run.display())),
        None => Ok(()),
    }
}

/// The lines of `metrics.jsonl` that have their ends, without the times in them.
fn records(run: &Path) -> Result<Vec<String>, String> {
    let text = match fs::read_to_string(run.join("metrics.jsonl")) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text.map_err(at(run))?,
    };
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    Ok(lines.map(|line| line.split(",\"images_per_s\"").next().unwrap_or_default().to_owned()).collect())
}

/// What a command writes.
struct Work<'a> {
    command: &'a dyn Fn() -> Command,
    /// Where.
    out: &'a Path,
    /// Folders there that only help the next time.
    kept: &'a [&'a str],
    /// Removes what the command has written.
    clear: &'a dyn Fn() -> Result<(), String>,
}

/// Repeats a command on a disk that gets full and then with room, and returns how often it failed for lack of it.
fn repeat(disk: &SmallDisk, rounds: u64, chance: &mut Chance, work: &Work) -> Result<u64, String> {
    let Work { command, out, kept, clear } = work;
    make_folder(out)?;
    let took = subject::timed(&mut command())?;
    let (expected, bytes) = (contents(out, kept)?, size_of(out)?);
    let mut failures = 0;
    for _ in 0..rounds {
        clear()?;
        let bytes = bytes - size_of(out)?;
        if disk.run(&mut command(), &Filling::random(chance, took, bytes + bytes / 4))? == Ended::Full {
            failures += 1;
            if let Some((name, _)) = contents(out, kept)?.into_iter().find(|file| !expected.contains(file)) {
                return Err(format!("{} is not whole", out.join(name).display()));
            }
            // What was kept is whole, or it would be warned of.
            let said = disk.said_by(&mut command())?;
            if said.contains("warning:") {
                return Err(format!("{:?}: {said}", command()));
            }
        }
        if contents(out, kept)? != expected {
            return Err(format!("{} differs from what is written to a disk with room", out.display()));
        }
    }
    remove_folder(out)?;
    Ok(failures)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    make_folder(to)?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            fs::copy(&path, &to).map_err(at(&to))?;
        }
    }
    Ok(())
}

fn empty(folder: &Path) -> Result<(), String> {
    remove_folder(folder)?;
    fs::create_dir(folder).map_err(at(folder))
}
