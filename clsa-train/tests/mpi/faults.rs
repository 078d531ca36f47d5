//! Faults: what happens to one rank ends all, and the run goes on from its last checkpoint.

use crate::runs::{on_ranks, small};
use crate::{mpirun, program, stderr};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A training that is asked to stop where a test fails before it has ended.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
        }
    }
}

/// A training on two ranks that has just been begun.
fn begun(args: &[String], folder: &Path) -> Child {
    let mut command = mpirun(2);
    // Open MPI kills what is left this many seconds after it has passed SIGTERM on; a loaded disk may take more than the one
    // that it gives by itself.
    command.env("OMPI_MCA_odls_base_sigkill_timeout", "5");
    command.arg(program()).args(args).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A training that lasts until something happens to it, once it has written a checkpoint; and the process that launched it.
fn long(folder: &Path) -> (Running, u32) {
    let args =
        small(2, &["--out", "run", "--epochs", "100000", "--set", "knn.every=0", "--set", "checkpoint.every_steps=3"]);
    let child = begun(&args, folder);
    let (launcher, run) = (child.id(), Running(Some(child)));
    let start = Instant::now();
    while !std::fs::read_dir(folder.join("run/checkpoints")).is_ok_and(|files| files.count() > 2) {
        assert!(start.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    (run, launcher)
}

/// The processes of a run's ranks, by their number.
fn process_of(rank: usize, folder: &Path) -> i32 {
    let is_rank = |pid: &i32| {
        let of = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let variables = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].map(|name| format!("{name}={rank}"));
        let here = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
        here && of("environ")
            .split(|&byte| byte == 0)
            .any(|one| variables.iter().any(|variable| one == variable.as_bytes()))
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.into_iter().find(is_rank).expect("the rank runs")
}

fn signal(signal: &str, pid: i32) {
    assert!(Command::new("sh").args(["-c", &format!("kill {signal} {pid}")]).status().unwrap().success());
}

/// What all have said in the end, within 30 seconds.
fn ended(mut run: Running) -> Output {
    let child = run.0.take().unwrap();
    let (pid, start) = (child.id(), Instant::now());
    let waiting = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !waiting.is_finished() {
        if start.elapsed() > Duration::from_secs(30) {
            signal("-KILL", pid as i32);
            panic!("the ranks go on for more than 30 seconds");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    waiting.join().unwrap()
}

/// Whether the newest checkpoint is whole and the run goes on from it, with some more options.
fn goes_on(folder: &Path, more: &[&str]) {
    let newest = clsa_run::RunFolder::open(&folder.join("run")).unwrap().newest_checkpoint().unwrap();
    let step = clsa_run::Checkpoint::load(&newest).unwrap().position.step;
    let epochs = (step / 4 + 2).to_string();
    let resume = [&["pretrain", "--resume", "run", "--threads", "1", "--epochs", &epochs][..], more].concat();
    let output = on_ranks(2, &resume.into_iter().map(str::to_owned).collect::<Vec<_>>(), folder);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("at step {step}")), "{}", stderr(&output));
}

#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for rank in [1, 0] {
        let (run, _) = long(&path);
        signal("-KILL", process_of(rank, &path));
        let output = ended(run);
        assert!(!output.status.success());
        // Open MPI and MPICH say it in their own words, on other streams.
        let (out, said) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
        let open_mpi = said.contains(&format!("process rank {rank}")) && said.contains("signal 9");
        assert!(open_mpi || out.contains("EXIT CODE: 9"), "{said}{out}");
        goes_on(&path, &[]);
        std::fs::remove_dir_all(path.join("run")).unwrap();
    }
}

/// Whether the launcher gives ranks the time that it is asked for. That of Open MPI 5 kills them a quarter of a second after it
/// has passed SIGTERM on.
fn launcher_waits() -> bool {
    let version = Command::new("mpirun").arg("--version").output().unwrap().stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    version.split_once("(Open MPI) ").is_none_or(|(_, version)| version.starts_with(['1', '2', '3', '4']))
}

#[test]
fn a_rank_or_launcher_that_is_asked_to_stop_ends_all_with_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for target in ["rank 1", "rank 0", "mpirun"] {
        if target == "mpirun" && !launcher_waits() {
            println!("not tested: this mpirun does not wait for its ranks");
            continue;
        }
        let (run, launcher) = long(&path);
        let pid = match target {
            "rank 1" => process_of(1, &path),
            "rank 0" => process_of(0, &path),
            _ => launcher as i32,
        };
        signal("-TERM", pid);
        let output = ended(run);
        let said = stderr(&output);
        assert_eq!(said.matches("stopped; checkpoint").count(), 1, "{target}: {said}");
        if target != "mpirun" {
            assert!(output.status.success(), "{target}: {said}");
        }
        goes_on(&path, &[]);
        std::fs::remove_dir_all(path.join("run")).unwrap();
    }
}

#[test]
fn an_image_that_one_rank_cannot_read_ends_all_with_its_name_and_the_rank() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images/train/a");
    std::fs::create_dir_all(&images).unwrap();
    for number in 0..64 {
        let image = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 16, y as u8 * 16, number * 4]));
        image.save(images.join(format!("{number:02}.png"))).unwrap();
    }
    let whole = std::fs::read(images.join("07.png")).unwrap();
    let more = ["--out", "run", "--data", "imagefolder:images", "--set", "data.on_error=stop", "--set", "knn.every=0"];
    let begin = on_ranks(2, &small(2, &[&more[..], &["--until-epoch", "1"]].concat()), folder.path());
    assert!(begin.status.success(), "{}", stderr(&begin));
    std::fs::write(images.join("07.png"), "no image").unwrap();
    let more = ["pretrain", "--resume", "run", "--threads", "1", "--until-epoch", "0"].map(str::to_owned);
    let output = ended(Running(Some(begun(&more, folder.path()))));
    let said = stderr(&output);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("error: rank ") && said.contains("07.png"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    std::fs::write(images.join("07.png"), whole).unwrap();
    goes_on(folder.path(), &[]);
}

#[test]
fn a_value_that_is_not_finite_ends_all_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let begin = on_ranks(2, &small(2, &["--out", "run", "--until-epoch", "1"]), folder.path());
    assert!(begin.status.success(), "{}", stderr(&begin));
    let more = ["pretrain", "--resume", "run", "--threads", "1", "--until-epoch", "0", "--set", "optim.lr=1e300"];
    let output = ended(Running(Some(begun(&more.map(str::to_owned), folder.path()))));
    let said = stderr(&output);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("training diverged") && said.contains("rank ") && said.contains("not finite"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    goes_on(folder.path(), &["--set", "optim.lr=0.06"]);
}

#[test]
fn a_run_whose_path_ranks_cannot_be_told_is_refused_once_and_none_waits() {
    let folder = tempfile::tempdir().unwrap();
    let begin = on_ranks(2, &small(2, &["--out", "run", "--until-epoch", "1"]), folder.path());
    assert!(begin.status.success(), "{}", stderr(&begin));
    let latin = OsStr::from_bytes(b"caf\xe9");
    std::fs::rename(folder.path().join("run"), folder.path().join(latin)).unwrap();
    let mut command = mpirun(2);
    command.arg(program()).args(["pretrain", "--threads", "1", "--until-epoch", "0", "--resume"]).arg(latin);
    command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ended(Running(Some(command.spawn().unwrap())));
    let said = stderr(&output);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("error: rank 0: --resume ") && said.contains("is not UTF-8"), "{said}");
    assert_eq!(output.status.code(), Some(2), "{said}");
}
