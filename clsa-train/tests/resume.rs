//! What keeps runs apart, and what a run can go on with.

mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tiny::{TINY, checkpoint, clsa, pretrain, records, refused, resume, stderr};

/// A process that ends with the test, whatever that finds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str], stderr: Stdio) -> Running {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("clsa"));
    Running(command.args(arguments).stdout(Stdio::null()).stderr(stderr).spawn().unwrap())
}

/// A run that goes on until it is stopped.
fn endless(out: &Path) -> Running {
    endless_with(out, Stdio::null())
}

fn endless_with(out: &Path, stderr: Stdio) -> Running {
    let out = out.display().to_string();
    start(&[&["pretrain"], &TINY[..], &["--out", &out, "--epochs", "100000"]].concat(), stderr)
}

/// Waits until a run has recorded so many steps.
fn wait_for_steps(run: &Path, steps: usize) {
    let start = Instant::now();
    let recorded =
        || fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().matches("\"kind\":\"step\"").count();
    while recorded() < steps {
        assert!(start.elapsed() < Duration::from_secs(120), "{} does not grow", run.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(run: &Running, name: &str) {
    // The shell's own, because not every machine has it as a program.
    let kill = format!("kill -{name} {}", run.0.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn stop(mut run: Running) {
    signal(&run, "TERM");
    assert!(run.0.wait().unwrap().success());
}

/// How a process has ended that is to do so by itself.
fn ended(running: &mut Running) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "the process goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_that_is_being_written_is_refused_to_a_second_process() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let first = endless(&run);
    wait_for_steps(&run, 6);
    let holder = format!("process {}", first.0.id());
    // What is not refused goes on for ever.
    let mut second = clsa();
    second.timeout(Duration::from_secs(60)).arg("pretrain").arg("--resume").arg(&run);
    refused(second.assert(), 2, &["--resume", &run.display().to_string(), "in use by", &holder]);
    refused(pretrain(&run, &[]), 2, &["--out", "in use by", &holder]);
    stop(first);
    // The lock has ended with its process.
    refused(
        resume(&run, &["--epochs", "1"]),
        2,
        &["epochs and 1 are asked for, so other settings would change nothing"],
    );
}

#[test]
fn runs_that_begin_in_the_same_second_have_folders_of_their_own() {
    let folder = TempDir::new().unwrap();
    let begin = |seed: &str| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("clsa"));
        command.current_dir(&folder).arg("pretrain").args(TINY).args(["--epochs", "1", "--seed", seed]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let started: Vec<_> = ["1", "2", "3"].into_iter().map(begin).collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    let runs: Vec<_> = fs::read_dir(folder.path().join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut seeds: Vec<u64> =
        runs.iter().map(|run| clsa_run::RunFolder::at(run).config().unwrap().train.seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3], "{runs:?}");
}

#[test]
fn a_checkpoint_outside_its_run_is_refused_before_anything_is_done() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    let backup = folder.path().join("backup/of");
    fs::create_dir_all(&backup).unwrap();
    let copy = backup.join("step-00000004.safetensors");
    fs::copy(checkpoint(&run, 4), &copy).unwrap();
    refused(
        resume(&copy, &[]),
        2,
        &["--resume", &copy.display().to_string(), "not in the folder checkpoints of a run"],
    );
    assert_eq!(fs::read_dir(folder.path().join("backup")).unwrap().count(), 1, "nothing is written beside it");

    for name in ["weights.pth", "checkpoints/weights.pth"] {
        let weights = run.join(name);
        fs::write(&weights, b"PK").unwrap();
        refused(resume(&weights, &[]), 2, &["--resume", "weights.pth", "checkpoint"]);
    }
    let mut command = clsa();
    command.current_dir(run.join("checkpoints")).args([
        "pretrain",
        "--resume",
        "step-00000004.safetensors",
        "--epochs",
        "2",
    ]);
    command.assert().success();
    assert!(checkpoint(&run, 8).exists(), "a bare name in the folder of checkpoints is in its run");
}

#[test]
fn later_checkpoints_with_their_records_and_settings_stay_until_a_run_that_went_back_has_written_one() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let keep = ["--set", "checkpoint={every_steps=1, keep=99}"];
    pretrain(&run, &keep).success();
    let records_before = fs::read(run.join("metrics.jsonl")).unwrap();
    let settings = || ["config.toml", "data.json"].map(|name| fs::read_to_string(run.join(name)).unwrap());
    let settings_before = settings();

    // Its first step fails: what was there is there.
    let broken = ["--set", "optim.lr=1e30", "--set", "checkpoint.every_steps=0", "--other-images"];
    let data = ["--data", "procedural:classes=4,train=80,test=16,side=16"];
    let assert = resume(&checkpoint(&run, 2), &[&broken[..], &data].concat()).code(1);
    let said = stderr(&assert);
    assert!(said.contains("note: 6 later checkpoints"), "{said}");
    // What takes the folder alone would go on from the latest of them.
    assert!(said.contains("repeat the command with a lower learning rate") && !said.contains("--resume"), "{said}");
    assert!((1..=8).all(|step| checkpoint(&run, step).exists()));
    assert!(fs::read(run.join("metrics.jsonl")).unwrap().starts_with(&records_before));
    assert_eq!(settings(), settings_before);

    // It gets to a checkpoint: that takes their place.
    resume(&checkpoint(&run, 2), &["--set", "optim.lr=0.01", "--set", "checkpoint.every_steps=3", "--epochs", "1"])
        .success();
    let steps = [1, 2, 3, 4, 5, 6, 7, 8].map(|step| checkpoint(&run, step).exists());
    assert_eq!(steps, [true, true, true, true, false, false, false, false]);
    assert_eq!(clsa_run::RunFolder::at(&run).config().unwrap().optim.lr, 0.01);
    let steps: Vec<u64> = records(&run, "step").iter().map(|record| record["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
}

#[test]
fn a_run_that_went_back_in_vain_has_its_records_when_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &[]).success();
    let metrics = run.join("metrics.jsonl");
    let before = fs::read_to_string(&metrics).unwrap();
    // As an attempt from step 4 leaves it that is killed after its first step.
    let again = before.lines().find(|line| line.contains("\"kind\":\"step\",\"step\":5,")).unwrap();
    fs::write(&metrics, format!("{before}{again}\n")).unwrap();
    let log = stderr(&resume(&run, &[]).success());
    assert!(!log.contains("after training"), "evaluated again: {log}");
    assert_eq!(fs::read_to_string(&metrics).unwrap(), before);
}

#[test]
fn a_checkpoint_that_is_due_by_steps_is_written_where_an_epoch_ends_too() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "3", "--set", "checkpoint={every=50, every_steps=4, keep=9}"]).success();
    assert!([4, 8, 12].iter().all(|&step| checkpoint(&run, step).exists()));
}

#[test]
fn a_run_that_diverged_goes_on_as_its_message_says() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    let assert = resume(&run, &["--epochs", "3", "--set", "optim.lr=1e30"]).code(1);
    let advice = stderr(&assert);
    assert!(advice.contains(&format!("`clsa pretrain --resume {} --set optim.lr=VALUE`", run.display())), "{advice}");
    resume(&run, &["--set", "optim.lr=0.001"]).success();
    assert!(checkpoint(&run, 12).exists());
    let config = clsa_run::RunFolder::at(&run).config().unwrap();
    assert_eq!((config.optim.lr, config.train.epochs), (0.001, 3), "config.toml says what the run goes on with");
}

#[test]
fn what_the_state_of_a_run_depends_on_cannot_be_changed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    let before = fs::read(run.join("config.toml")).unwrap();
    for (change, key) in [
        (&["--set", "model.width=0.25"][..], "model.width"),
        (&["--set", "method.bank=64"], "method.bank"),
        (&["--batch-size", "32"], "train.batch_size"),
        (&["--seed", "7"], "train.seed"),
    ] {
        refused(resume(&run, change), 2, &["--resume", key]);
    }
    for ranks in ["--set=train.ranks=0", "--set=train.ranks=2", "--set=train={ranks=2}"] {
        refused(resume(&run, &[ranks]), 2, &["--set train.ranks=", "leave it out, and start as many processes"]);
    }
    refused(resume(&run, &["--set", "optim.learning_rate=1"]), 2, &["--set optim.learning_rate=1"]);
    assert_eq!(fs::read(run.join("config.toml")).unwrap(), before);
}

/// Pictures of two classes, so many in each class of the training split.
fn pictures(root: &Path, train: u8) {
    for (split, count) in [("train", train), ("val", 4)] {
        for class in ["a", "b"] {
            let folder = root.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let color = image::Rgb([number * 5, class.as_bytes()[0], 255 - number * 3]);
                image::RgbImage::from_pixel(20, 20, color).save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn images_may_move_but_not_change_under_a_run() {
    let folder = TempDir::new().unwrap();
    let (first, moved, run) = (folder.path().join("first"), folder.path().join("moved"), folder.path().join("run"));
    pictures(&first, 16);
    let source = |path: &Path| format!("imagefolder:{}", path.display());
    pretrain(&run, &["--data", &source(&first), "--epochs", "1"]).success();
    fs::rename(&first, &moved).unwrap();

    resume(&run, &["--data", &source(&moved), "--epochs", "2"]).success();
    assert_eq!(clsa_run::RunFolder::at(&run).config().unwrap().data.source, source(&moved));
    clsa().arg("eval").arg("--run").arg(&run).args(["--protocol", "knn", "--k", "3"]).assert().success();

    fs::remove_file(moved.join("train/a/0.png")).unwrap();
    let more = ["--epochs", "3"];
    refused(resume(&run, &more), 2, &["--resume", "31 images in place of 32", "--other-images"]);
    fs::rename(moved.join("train/b/0.png"), moved.join("train/a/0.png")).unwrap();
    pictures(&moved, 1);
    fs::rename(moved.join("train/b/1.png"), moved.join("train/b/one.png")).unwrap();
    refused(resume(&run, &more), 2, &["images of other names", "--data"]);
    resume(&run, &[&more[..], &["--other-images"]].concat()).success();
    resume(&run, &["--epochs", "4"]).success();
    // Before it is asked whether they would do: a batch has 16.
    let few = folder.path().join("few");
    pictures(&few, 2);
    refused(
        resume(&run, &["--data", &source(&few), "--epochs", "5"]),
        2,
        &["4 images in place of 32", "--other-images"],
    );
}

#[test]
fn images_that_go_away_end_a_run_with_a_checkpoint_from_which_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let [images, away, run, log] = ["images", "away", "run", "log"].map(|name| folder.path().join(name));
    pictures(&images, 16);
    let (data, out) = (format!("imagefolder:{}", images.display()), run.display().to_string());
    let more = ["--data", &data, "--out", &out, "--epochs", "100000", "--set", "checkpoint.every=100000"];
    let mut running = start(&[&["pretrain"], &TINY[..], &more].concat(), fs::File::create(&log).unwrap().into());
    wait_for_steps(&run, 3);
    fs::rename(&images, &away).unwrap();
    assert_eq!(ended(&mut running).code(), Some(1));
    let said = fs::read_to_string(&log).unwrap();
    let advice = format!("once the images are in order, continue with: clsa pretrain --resume {out}");
    assert!(said.contains(&advice) && said.contains("are bad, more than"), "{said}");
    let steps = records(&run, "step").len() as u64;
    assert!(checkpoint(&run, steps).exists(), "the checkpoint of the last step, {steps}");

    fs::rename(&away, &images).unwrap();
    let epochs = steps / 2 + 1;
    resume(&run, &["--epochs", &epochs.to_string()]).success();
    assert!(checkpoint(&run, 2 * epochs).exists());
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_told_and_stays() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    // A folder cannot be read as a file is, whoever reads it.
    let newest = checkpoint(&run, 9);
    fs::create_dir(&newest).unwrap();
    let advice = "--resume: the checkpoint cannot be read; try again, or name another one";
    refused(resume(&run, &["--epochs", "2"]), 1, &[advice, &newest.display().to_string()]);
    assert!(newest.exists() && !checkpoint(&run, 8).exists());
}

#[test]
fn half_written_files_of_killed_processes_are_removed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--epochs", "1"]).success();
    let left =
        ["checkpoints", "tensorboard", "tensorboard/projector", ""].map(|at| run.join(at).join(".clsa-writing-aB3xYz"));
    left.iter().for_each(|path| fs::write(path, [0; 1000]).unwrap());
    resume(&run, &[]).success();
    assert!(left.iter().all(|path| !path.exists()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_when_the_run_began_stays_ignored() {
    let folder = TempDir::new().unwrap();
    for (name, ignoring) in [("HUP", "trap '' HUP"), ("INT", "trap '' INT"), ("HUP", "true")] {
        let run = folder.path().join(format!("{name}-{}", ignoring == "true"));
        let program = assert_cmd::cargo::cargo_bin("clsa");
        let script = format!("{ignoring}; exec \"$0\" \"$@\"");
        // The tests themselves may have been started by nohup.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT", "sh", "-c", &script]).arg(program).arg("pretrain").args(TINY);
        command.arg("--out").arg(&run).args(["--epochs", "100000"]);
        let mut child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_for_steps(&run, 3);
        signal(&child, name);
        let steps = records(&run, "step").len();
        if ignoring == "true" {
            assert!(ended(&mut child).success(), "not ignored, the signal ends the run after its step");
        } else {
            wait_for_steps(&run, steps + 20);
            assert!(child.0.try_wait().unwrap().is_none());
            stop(child);
        }
    }
}

#[test]
fn training_goes_on_where_its_log_is_full_or_has_no_reader() {
    let folder = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    for (name, log) in [("unread", Stdio::from(writer)), ("full", Stdio::from(full))] {
        let run = folder.path().join(name);
        let out = run.display().to_string();
        let arguments = [&["pretrain"], &TINY[..], &["--out", &out]].concat();
        assert!(start(&arguments, log).0.wait().unwrap().success());
        assert!(checkpoint(&run, 8).exists());
    }
}

#[test]
fn tensorboard_is_told_which_steps_are_written_again() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &["--set", "checkpoint.every_steps=1"]).success();
    resume(&checkpoint(&run, 6), &[]).success();
    let mut files: Vec<_> = fs::read_dir(run.join("tensorboard")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("events."));
    files.sort();
    // Event { step: 7, session_log: SessionLog { status: START } }
    let start = [0x10, 7, 0x3a, 2, 8, 1];
    let has_start = |path: &Path| fs::read(path).unwrap().windows(start.len()).any(|bytes| bytes == start);
    assert_eq!(files.iter().map(|path| has_start(path)).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_run_that_has_ended_takes_no_other_settings_that_nothing_would_follow() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    pretrain(&run, &[]).success();
    let config = || fs::read_to_string(run.join("config.toml")).unwrap();
    let before = config();
    for change in ["optim.lr=77", "method.temperature=0.5", "train.epochs=1"] {
        refused(resume(&run, &["--set", change]), 2, &["has done 2 epochs", "would change nothing", "--epochs"]);
        assert_eq!(config(), before, "{change}");
    }
    resume(&run, &[]).success();
    resume(&run, &["--epochs", "3", "--set", "optim.lr=0.01"]).success();
    assert_eq!(records(&run, "step").len(), 12);
}

#[test]
fn the_last_evaluation_of_a_run_may_be_made_with_other_parts_of_a_batch() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let in_parts = ["--epochs", "1", "--set", "compute.bn_splits=4", "--set", "train.accumulate=2"];
    pretrain(&run, &in_parts).success();
    let metrics = run.join("metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    let last = whole.lines().rfind(|line| line.contains("\"knn\"")).unwrap();
    fs::write(&metrics, whole.replace(&format!("{last}\n"), "")).unwrap();
    resume(&run, &["--set", "train.accumulate=1"]).success();
    assert_eq!(fs::read_to_string(&metrics).unwrap(), whole);
}

#[cfg(target_os = "linux")]
#[test]
fn as_many_threads_read_images_as_are_asked_for() {
    let folder = TempDir::new().unwrap();
    for threads in ["1", "3"] {
        let run = folder.path().join(threads);
        let out = run.display().to_string();
        let more = ["--out", &out, "--epochs", "100000", "--set", "knn.every=0", "--threads", threads];
        let running = start(&[&["pretrain"], &TINY[..], &more].concat(), Stdio::null());
        wait_for_steps(&run, 1);
        let readers = || {
            let tasks = fs::read_dir(format!("/proc/{}/task", running.0.id())).unwrap();
            let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
            names.filter(|name| name.starts_with("clsa-data-")).count().to_string()
        };
        // A thread has its name only when it has begun.
        let start = Instant::now();
        while readers() != threads {
            assert!(start.elapsed() < Duration::from_secs(30), "{} in place of {threads}", readers());
            std::thread::sleep(Duration::from_millis(10));
        }
        stop(running);
    }
}

#[test]
fn a_folder_that_a_failed_run_has_left_is_to_be_removed_and_not_resumed() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.toml"), "").unwrap();
    let text = "this folder holds a run already; name another folder; it was ended, or diverged, before its first checkpoint; remove it";
    refused(pretrain(&run, &[]), 2, &[text]);
}

#[test]
fn a_run_among_its_own_images_is_refused() {
    let folder = TempDir::new().unwrap();
    for split in ["photos", "sorted/train/a", "sorted/train/b"] {
        let at = folder.path().join(split);
        fs::create_dir_all(&at).unwrap();
        for number in 0..16u8 {
            image::RgbImage::from_pixel(20, 20, image::Rgb([number, 9, 200]))
                .save(at.join(format!("{number}.png")))
                .unwrap();
        }
    }
    let begin = |data: &str, out: &str| {
        let more = ["--data", data, "--out", out, "--until-epoch", "1"];
        clsa().current_dir(folder.path()).env("HOME", folder.path()).arg("pretrain").args(TINY).args(more).assert()
    };
    for (data, out) in [
        ("flat:photos", "photos/runs/r"),
        ("flat:.", "r"),
        ("flat:~/photos", "photos/r"),
        ("imagefolder:sorted", "sorted/train/r"),
        ("imagefolder:sorted+flat:photos", "photos/r"),
    ] {
        refused(begin(data, out), 2, &[&format!("--out {out}: it is among the images in ")]);
    }
    begin("flat:photos", "r").success();
    begin("imagefolder:sorted", "sorted/r").success();
    assert!(!folder.path().join("photos/runs").exists());
}

#[cfg(unix)]
#[test]
fn a_terminated_run_writes_a_checkpoint_and_goes_on_to_the_same_end() {
    use std::io::Read;
    use tiny::tensors;
    let folder = TempDir::new().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let mut running = endless_with(&cut, Stdio::piped());
    // Within an epoch of 4 steps, more likely than not.
    wait_for_steps(&cut, 6);
    signal(&running, "TERM");
    let mut text = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(running.0.wait().unwrap().success(), "{text}");
    assert!(text.contains(&format!("clsa pretrain --resume {}", cut.display())), "{text}");
    let steps = records(&cut, "step").len() as u64;
    assert!(checkpoint(&cut, steps).exists(), "the checkpoint of the last step");
    let epochs = steps / 4 + 1;
    let until = ["--until-epoch", &epochs.to_string()];
    resume(&cut, &until).success();
    pretrain(&whole, &[&["--epochs", "100000"], &until[..]].concat()).success();
    assert_eq!(tensors(&checkpoint(&whole, 4 * epochs)), tensors(&checkpoint(&cut, 4 * epochs)));
}

#[cfg(unix)]
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut running = endless(&run);
    wait_for_steps(&run, 2);
    // By one shell, because two processes could take longer to start than signals may be apart.
    let both = format!("kill -HUP {0} && kill -TERM {0}", running.0.id());
    assert!(Command::new("sh").args(["-c", &both]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
    let steps = records(&run, "step").len() as u64;
    assert!(checkpoint(&run, steps).exists(), "the checkpoint of the last step");
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_a_process_whose_error_stream_nobody_reads() {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    // In the place of a pipe, which the standard library cannot fill without waiting.
    let (mut log, unread) = UnixStream::pair().unwrap();
    log.set_nonblocking(true).unwrap();
    while log.write_all(b"\n").is_ok() {}
    log.set_nonblocking(false).unwrap();
    let out = run.display().to_string();
    let mut running = start(&[&["pretrain"], &TINY[..], &["--out", &out]].concat(), OwnedFd::from(log).into());
    let start = Instant::now();
    let wait = |at: &str| {
        assert!(start.elapsed() < Duration::from_secs(60), "{at}");
        std::thread::sleep(Duration::from_millis(100));
    };
    // When its folder is there, it hears signals.
    while !run.exists() {
        wait("the run does not begin");
    }
    let status = loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        // Again and again, until one comes long enough after the first to be no part of it.
        signal(&running, "TERM");
        wait("the process goes on");
    };
    assert_eq!(status.code(), Some(130));
    drop(unread);
}

#[test]
fn a_folder_with_a_space_is_quoted_in_the_command_that_goes_on() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("my run");
    let log = stderr(&pretrain(&run, &["--until-epoch", "1"]).success());
    assert!(log.contains(&format!("pretrain --resume '{}' --until-epoch 0", run.display())), "{log}");
}
