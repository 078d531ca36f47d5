//! Runs: what several ranks write and say, and what they are refused.

use crate::tiny::{TINY, tensors};
use crate::{mpirun, program, stderr};
use clsa_run::{Metrics, RunFolder};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Arguments of a small run of f64, which is the same on any number of ranks: 64 images, steps of 16.
pub fn small(ranks: usize, more: &[&str]) -> Vec<String> {
    let (splits, batch) = (format!("compute.bn_splits={}", 2 / ranks), format!("--batch-size={}", 16 / ranks));
    let exact = ["--set", "compute.precision=f64", "--set", "compute.backend=portable", "--set", &splits];
    let run = ["--epochs=3", "--threads=1", &batch, "--set", "checkpoint={every=1, keep=99}"];
    let all = [&["pretrain"], &TINY[..], &exact, &run, more].concat();
    all.into_iter().map(str::to_owned).collect()
}

pub fn on_ranks(ranks: usize, args: &[String], folder: &Path) -> Output {
    let mut command = if ranks == 1 { Command::new(program()) } else { mpirun(ranks) };
    if ranks > 1 {
        command.arg(program());
    }
    command.args(args).current_dir(folder).output().unwrap()
}

fn losses(run: &Path) -> Vec<f64> {
    Metrics::read(&run.join("metrics.jsonl")).unwrap().steps.iter().map(|step| step.loss).collect()
}

fn assert_same_losses(a: &Path, b: &Path) {
    let (a, b) = (losses(a), losses(b));
    assert_eq!(a.len(), b.len());
    for (step, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() < 1e-9 * b.abs(), "step {}: {a} and {b}", step + 1);
    }
}

#[test]
fn a_run_is_the_same_on_two_ranks_and_only_the_first_writes_and_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let alone = on_ranks(1, &small(1, &["--out", "alone"]), folder.path());
    assert!(alone.status.success(), "{}", stderr(&alone));
    let shared = on_ranks(2, &small(2, &["--out", "shared"]), folder.path());
    let said = stderr(&shared);
    assert!(shared.status.success(), "{said}");
    assert_same_losses(&folder.path().join("shared"), &folder.path().join("alone"));
    let rule = "the learning rate 0.06 is meant for 64; by the linear rule it is 0.06 x 16 / 64 = 0.015,";
    for line in ["3 epochs of batches of 8 on each of 2 ranks", "the run is in shared", rule] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    let mut written: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    written.sort();
    assert_eq!(written, ["alone", "shared"]);
    let metrics = Metrics::read(&folder.path().join("shared/metrics.jsonl")).unwrap();
    assert_eq!((metrics.steps.len(), metrics.ranks.len()), (12, 12));
    for step in &metrics.ranks {
        assert_eq!((step.images_per_s.len(), step.data_wait_s.len(), step.communication_s.len()), (2, 2, 2));
        assert!(step.images_per_s.iter().chain(&step.communication_s).all(|&figure| figure > 0.0));
    }
    let config = std::fs::read_to_string(folder.path().join("shared/config.toml")).unwrap();
    assert!(config.contains("ranks = 2") && config.contains("batch_size = 8"), "{config}");
    // k-NN and the statistics that it depends on.
    let accuracies = |run: &str| {
        let metrics = Metrics::read(&folder.path().join(run).join("metrics.jsonl")).unwrap();
        metrics.knn.iter().map(|knn| knn.top1).collect::<Vec<f64>>()
    };
    assert_eq!(accuracies("shared"), accuracies("alone"));
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks_and_says_what_is_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    assert!(on_ranks(1, &small(1, &["--out", "whole"]), folder.path()).status.success());
    for (name, before, after, said, more) in [
        ("fewer", 2, 1, "1 rank in place of 2 ranks", vec![]),
        ("more", 1, 2, "2 ranks in place of 1 rank", vec![]),
        ("divided", 1, 2, "2 ranks in place of 1 rank", vec!["--batch-size", "8"]),
    ] {
        let begun = on_ranks(before, &small(before, &["--out", name, "--until-epoch", "1"]), folder.path());
        assert!(begun.status.success(), "{}", stderr(&begun));
        let resume = [&["pretrain", "--resume", name, "--until-epoch", "0", "--threads", "1"], &more[..]].concat();
        let resume: Vec<String> = resume.into_iter().map(str::to_owned).collect();
        let resumed = on_ranks(after, &resume, folder.path());
        assert!(resumed.status.success() && stderr(&resumed).contains(said), "{}", stderr(&resumed));
        assert!(!stderr(&resumed).contains("linear rule"), "it was begun with: {}", stderr(&resumed));
        assert_same_losses(&folder.path().join(name), &folder.path().join("whole"));
    }
    let resume = ["pretrain", "--resume", "fewer", "--epochs", "4", "--until-epoch", "0"].map(str::to_owned);
    let resumed = on_ranks(3, &resume, folder.path());
    let said = stderr(&resumed);
    assert_eq!(resumed.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot be divided among 3 ranks"), "{said}");
}

/// The bits of all tensors of the newest checkpoint, by name.
fn bits(run: &Path) -> BTreeMap<String, Vec<u8>> {
    tensors(&RunFolder::open(run).unwrap().newest_checkpoint().unwrap())
}

#[test]
fn a_run_that_was_stopped_within_an_epoch_ends_with_the_bits_of_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, every_steps) in [("whole", 0), ("stopped", 3)] {
        let every = format!("checkpoint.every_steps={every_steps}");
        let trained = on_ranks(2, &small(2, &["--out", name, "--set", &every]), folder.path());
        assert!(trained.status.success(), "{}", stderr(&trained));
    }
    assert_eq!(bits(&at("stopped")), bits(&at("whole")), "what checkpoints there are changes nothing");
    for step in [8, 9, 12] {
        std::fs::remove_file(at("stopped").join(format!("checkpoints/step-{step:08}.safetensors"))).unwrap();
    }
    assert!(bits(&at("stopped")).contains_key("ranks.statistics"));
    let copied = Command::new("cp").arg("-r").args([at("stopped"), at("alone")]).status().unwrap();
    assert!(copied.success());
    let resume = |name| ["pretrain", "--resume", name, "--threads", "1"].map(str::to_owned);
    for (name, ranks) in [("stopped", 2), ("alone", 1)] {
        let resumed = on_ranks(ranks, &resume(name), folder.path());
        assert!(resumed.status.success() && stderr(&resumed).contains("at step 6"), "{}", stderr(&resumed));
        assert_same_losses(&at(name), &at("whole"));
    }
    assert_eq!(bits(&at("stopped")), bits(&at("whole")));
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_on_other_ranks_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let on_one = ["batch_size = 16\n", "bn_splits = 2\n"];
    let on_two = ["batch_size = 8\nranks = 2\n", "bn_splits = 1\n"];
    for (name, before, after) in [("fewer", 2, 1), ("more", 1, 2)] {
        let begun = on_ranks(before, &small(before, &["--out", name, "--until-epoch", "1"]), folder.path());
        assert!(begun.status.success(), "{}", stderr(&begun));
        // What it leaves is the configuration of its number of ranks.
        let config = folder.path().join(name).join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let (from, to) = if before == 1 { (on_one, on_two) } else { (on_two, on_one) };
        let text = from.into_iter().zip(to).fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{from} in {text}");
            text.replace(from, to)
        });
        std::fs::write(&config, text).unwrap();
        let resume = ["pretrain", "--resume", name, "--until-epoch", "2", "--threads", "1"].map(str::to_owned);
        let resumed = on_ranks(after, &resume, folder.path());
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert_eq!(losses(&folder.path().join(name)).len(), 8);
    }
}

#[test]
fn ranks_that_were_asked_for_different_things_are_refused_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    for (change, words) in [
        (["--seed", "9"], "rank 1 has train.seed = 9 where rank 0 has 0"),
        (["--set", "optim.lr=0.5"], "rank 1 has optim.lr = 0.5 where rank 0 has 0.06"),
        (["--data", "procedural:classes=4,train=80,test=16,side=16"], "rank 1 has 80 images in place of 64;"),
    ] {
        let first = small(2, &["--out", "run"]);
        let other = [&first[..], &change.map(str::to_owned)].concat();
        let output = mpirun(1)
            .arg(program())
            .args(&first)
            .args([":", "-n", "1", program()])
            .args(&other)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!folder.path().join("run").exists(), "a run that never began leaves nothing");
    }
}

#[test]
fn a_wrong_request_is_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = on_ranks(2, &small(2, &["--set", "optim.lr=-1"]), folder.path());
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.matches("error: optim.lr").count()), (Some(2), 1), "{said}");
    let output = mpirun(2).arg(program()).args(["eval", "--run", "x"]).output().unwrap();
    assert!(stderr(&output).contains("eval: it was started 2 times by a launcher"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(2));
}
