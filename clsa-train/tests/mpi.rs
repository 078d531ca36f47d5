//! Ranks as processes of MPI: their steps equal those of one process, and whatever happens to one of them ends all.

#[path = "tiny/settings.rs"]
mod settings;

use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::MemoryBank;
use clsa_model::{Arch, Backend, Compute, ModelConfig, MomentumPair, Parameter, Precision, Stem};
use clsa_run::{MethodConfig, Metrics, OptimConfig};
use clsa_train::replay::Trajectory;
use clsa_train::{Clsa, Communicator, Mpi, Optimizer, SingleProcess, Views};
use settings::TINY;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIDE: usize = 16;
const DIM: usize = 16;
const BANK: usize = 24;

/// `mpirun -n RANKS`, of Open MPI or MPICH, for tests: also where there are fewer cores, and as any user.
fn mpirun(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string()]);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.envs([("OMPI_MCA_rmaps_base_oversubscribe", "1"), ("OMPI_MCA_hwloc_base_binding_policy", "none")]);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// ---- the step

/// Runs the ignored test `name` of this file on two ranks.
fn on_two_ranks(name: &str) {
    let output = mpirun(2)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .expect("mpirun is installed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(output.status.success() && text.matches("1 passed").count() == 2, "{text}");
}

#[test]
fn two_processes_equal_one_with_two_batch_norm_groups_in_every_variant() {
    on_two_ranks("compare_steps");
}

/// The variants of the method, and how many weak and strong views each has.
fn variants() -> [(&'static str, MethodConfig, usize, usize); 4] {
    let method = || MethodConfig { bank: BANK, momentum: 0.9, alpha: 0.7, ..MethodConfig::default() };
    [
        ("single", method(), 1, 1),
        ("multi", method(), 2, 2),
        ("symmetric", MethodConfig { symmetric: true, ..method() }, 2, 1),
        ("MoCo", MethodConfig { batch_negatives: false, ..method() }, 1, 0),
    ]
}

fn clsa(compute: Compute, method: &MethodConfig, communicator: Arc<dyn Communicator>) -> Clsa {
    let model =
        ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, dim: DIM, ..ModelConfig::default() };
    let dtype = if compute.precision == Precision::F64 { DType::F64 } else { DType::F32 };
    let pair = MomentumPair::new(&model, compute, method.momentum, 1, &Device::Cpu).unwrap();
    let bank = MemoryBank::random(BANK, DIM, 1, dtype, &Device::Cpu).unwrap();
    let optimizer = Optimizer::new(pair.query.parameters(), &OptimConfig::default()).unwrap();
    Clsa::new(pair, bank, optimizer, method, communicator, 5)
}

fn images(samples: usize, seed: usize, dtype: DType) -> Tensor {
    let value = |i: usize| (((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0) * (1.0 + (i / 192 % 5) as f64);
    let values: Vec<f64> = (0..samples * 3 * SIDE * SIDE).map(value).collect();
    Tensor::from_vec(values, (samples, 3, SIDE, SIDE), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// The mean over a vector's length of what differs from another.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied()).max(f64::MIN_POSITIVE)
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn gradients(clsa: &Clsa) -> Vec<f64> {
    clsa.gradients.iter().flat_map(|gradient| flat(gradient.expect("every parameter has one"))).collect()
}

fn weights(clsa: &Clsa) -> Vec<f64> {
    let parameters = clsa.pair.query.parameters().iter().chain(clsa.pair.key.parameters());
    parameters.flat_map(|parameter| flat(&parameter.var)).collect()
}

/// Puts one into the state of the other.
fn copy_state(to: &mut Clsa, from: &Clsa) {
    let set = |to: &Var, from: &Var| to.set(&from.to_dtype(to.dtype()).unwrap().copy().unwrap()).unwrap();
    let copy = |to: &[Parameter], from: &[Parameter]| {
        to.iter().zip(from).for_each(|(to, from)| set(&to.var, &from.var));
    };
    copy(to.pair.query.parameters(), from.pair.query.parameters());
    copy(to.pair.key.parameters(), from.pair.key.parameters());
    for ((_, to), (_, from)) in to.optimizer.state().iter().zip(from.optimizer.state()) {
        set(to, from);
    }
    let rows = from.bank.rows().to_dtype(to.bank.rows().dtype()).unwrap().copy().unwrap();
    to.bank = MemoryBank::from_rows(rows, from.bank.pointer()).unwrap();
}

#[test]
#[ignore = "run by another test, under mpirun"]
fn compare_steps() {
    let mpi = Mpi::join().unwrap();
    let (rank, samples) = (mpi.rank(), 8);
    assert_eq!(mpi.world_size(), 2);
    let arithmetics: [(Backend, Precision, DType, f64); 3] = [
        (Backend::Portable, Precision::F64, DType::F64, 1e-12),
        (Backend::Portable, Precision::F32, DType::F32, 1e-6),
        (Backend::Cpu, Precision::F32, DType::F32, 1e-6),
    ];
    for (variant, method, weak, strong) in variants() {
        for (backend, precision, dtype, tolerance) in arithmetics {
            let what = format!("{variant} {backend:?} {precision:?}");
            let compute = |bn_splits| Compute { backend, precision, bn_splits };
            let mut alone = clsa(compute(2), &method, Arc::new(SingleProcess));
            let mut shared = clsa(compute(1), &method, Arc::new(mpi.clone()));
            for step in 0..4 {
                if precision == Precision::F32 {
                    // What rounding does to one step is not to be magnified by the next.
                    copy_state(&mut shared, &alone);
                }
                let mut seed = 100 * step;
                let mut image = || {
                    seed += 1;
                    images(2 * samples, seed, dtype)
                };
                let key = image();
                let weak: Vec<Tensor> = (0..weak).map(|_| image()).collect();
                let strong: Vec<Tensor> = (0..strong).map(|_| image()).collect();
                let part = |image: &Tensor| image.narrow(0, rank * samples, samples).unwrap();
                let parts = |images: &[Tensor]| images.iter().map(part).collect();
                let bytes = Vec::new;
                let own = Views { key: part(&key), weak: parts(&weak), strong: parts(&strong), bytes: bytes() };
                let all = Views { key, weak, strong, bytes: bytes() };
                let expected = alone.step(&all, 0.05).unwrap();
                let got = shared.step(&own, 0.05).unwrap();
                let error = (got.loss - expected.loss).abs() / expected.loss.abs();
                assert!(error <= tolerance, "{what}, step {step}: loss {} and {}", got.loss, expected.loss);
                assert_eq!(got.acc1, expected.acc1, "{what}, step {step}");
                let error = distance(&gradients(&shared), &gradients(&alone));
                assert!(error <= tolerance, "{what}, step {step}: gradients differ by {error:e}");
                let error = distance(&weights(&shared), &weights(&alone));
                assert!(error <= tolerance, "{what}, step {step}: weights differ by {error:e}");
                let error = distance(&flat(shared.bank.rows()), &flat(alone.bank.rows()));
                assert!(error <= 10.0 * tolerance, "{what}, step {step}: banks differ by {error:e}");
            }
            shared.average_statistics().unwrap();
            for (got, expected) in [(&shared.pair.query, &alone.pair.query), (&shared.pair.key, &alone.pair.key)] {
                for (got, expected) in got.running_statistics().iter().zip(expected.running_statistics()) {
                    let error = distance(&flat(&got.var), &flat(&expected.var));
                    assert!(error <= 10.0 * tolerance, "{what}: {} differs by {error:e}", got.name);
                }
            }
        }
    }
    mpi.leave();
}

#[test]
fn a_batch_in_another_order_is_the_same_as_by_gathering_it() {
    on_two_ranks("compare_orders");
}

#[test]
#[ignore = "run by another test, under mpirun"]
fn compare_orders() {
    /// As `Mpi`, but for what is not asked for.
    struct Gathering(Mpi);
    impl Communicator for Gathering {
        fn rank(&self) -> usize {
            self.0.rank()
        }
        fn world_size(&self) -> usize {
            self.0.world_size()
        }
        fn all_gather(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
            self.0.all_gather(tensor)
        }
        fn begin_mean(&self, values: Tensor) -> candle_core::Result<clsa_train::PendingMean> {
            self.0.begin_mean(values)
        }
    }
    let mpi = Mpi::join().unwrap();
    for (n, dtype) in [(1, DType::F32), (3, DType::U8), (16, DType::F64), (64, DType::F32)] {
        let order = clsa_train::Shuffle::new(2 * n, 3, n as u64).order;
        let first = (1000 * mpi.rank()) as f64;
        let rows = Tensor::arange(first, first + (n * 6) as f64, &Device::Cpu).unwrap();
        let rows = rows.to_dtype(dtype).unwrap().reshape((n, 3, 2)).unwrap();
        let sent = mpi.permute(&rows, &order).unwrap();
        let gathered = Gathering(mpi.clone()).permute(&rows, &order).unwrap();
        assert_eq!((sent.dims(), sent.dtype(), flat(&sent)), (gathered.dims(), dtype, flat(&gathered)));
    }
    mpi.leave();
}

#[test]
fn a_recorded_trajectory_is_the_same_on_two_ranks_as_in_as_many_batch_norm_groups() {
    for (case, groups) in [("single-r18-f64", 2), ("multi-r18-f64", 2), ("moco-r18-f64", 4)] {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).with_extension("json");
        let recorded = if case.to_string_lossy().contains("moco") { 4 } else { 1 };
        let replay = |command: &mut Command, splits: u32| -> Trajectory {
            let output = command.arg("replay").arg(&case).arg(format!("--bn-splits={splits}")).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let note =
                format!("recorded with batch norm over {recorded} groups of the batch, and replayed over {groups}");
            assert_eq!(stderr(&output).matches(&note).count(), usize::from(groups != recorded), "{}", stderr(&output));
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let alone = replay(&mut Command::new(program()), groups);
        let shared = replay(mpirun(2).arg(program()), groups / 2);
        let close = |what: &str, a: f64, b: f64| {
            assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-3), "{what}: {a} and {b}");
        };
        assert_eq!((alone.steps.len(), alone.last.len()), (shared.steps.len(), shared.last.len()));
        for (s, (shared, alone)) in shared.steps.iter().zip(&alone.steps).enumerate() {
            close(&format!("loss of step {s}"), shared.loss, alone.loss);
            for (name, norm) in &alone.grad_norms {
                close(&format!("gradient of {name} at step {s}"), shared.grad_norms[name], *norm);
            }
        }
        for (name, summary) in &alone.last {
            close(name, shared.last[name].norm, summary.norm);
        }
    }
}

// ---- the command

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_clsa")
}

/// Arguments of a small run of f64, which is the same on any number of ranks: 64 images, steps of 16.
fn small(ranks: usize, more: &[&str]) -> Vec<String> {
    let (splits, batch) = (format!("compute.bn_splits={}", 2 / ranks), format!("--batch-size={}", 16 / ranks));
    let exact = ["--set", "compute.precision=f64", "--set", "compute.backend=portable", "--set", &splits];
    let run = ["--epochs=3", "--threads=1", &batch, "--set", "checkpoint={every=1, keep=99}"];
    let all = [&["pretrain"], &TINY[..], &exact, &run, more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn on_ranks(ranks: usize, args: &[String], folder: &Path) -> Output {
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
    for line in ["3 epochs of batches of 8 on each of 2 ranks", "the run is in shared", "by the linear rule"] {
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
        assert_same_losses(&folder.path().join(name), &folder.path().join("whole"));
    }
    let resume = ["pretrain", "--resume", "fewer", "--epochs", "4", "--until-epoch", "0"].map(str::to_owned);
    let resumed = on_ranks(3, &resume, folder.path());
    let said = stderr(&resumed);
    assert_eq!(resumed.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot be divided among 3 ranks"), "{said}");
}

#[test]
fn ranks_that_were_asked_for_different_things_are_refused_by_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    for (change, words) in [
        (["--seed", "9"], "rank 1 has train.seed = 9 where rank 0 has 0"),
        (["--set", "optim.lr=0.5"], "rank 1 has optim.lr = 0.5 where rank 0 has 0.06"),
        (
            ["--data", "procedural:classes=4,train=80,test=16,side=16"],
            "rank 1 has images.images = 80 where rank 0 has 64",
        ),
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

/// A training that lasts until something happens to it, once it has written a checkpoint.
fn long(folder: &Path) -> Child {
    let args =
        small(2, &["--out", "run", "--epochs", "100000", "--set", "knn.every=0", "--set", "checkpoint.every_steps=3"]);
    let child = mpirun(2)
        .arg(program())
        .args(&args)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !std::fs::read_dir(folder.join("run/checkpoints")).is_ok_and(|files| files.count() > 2) {
        assert!(start.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
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
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// What all have said in the end, within 30 seconds.
fn ended(child: Child) -> Output {
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

/// Whether the newest checkpoint is whole and the run goes on from it.
fn goes_on(folder: &Path) {
    let newest = clsa_run::RunFolder::open(&folder.join("run")).unwrap().newest_checkpoint().unwrap();
    let step = clsa_run::Checkpoint::load(&newest).unwrap().position.step;
    let epochs = (step / 4 + 2).to_string();
    let resume = ["pretrain", "--resume", "run", "--threads", "1", "--epochs", &epochs].map(str::to_owned);
    let output = on_ranks(2, &resume, folder);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("at step {step}")), "{}", stderr(&output));
}

#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for rank in [1, 0] {
        let run = long(&path);
        signal("-KILL", process_of(rank, &path));
        let output = ended(run);
        assert!(!output.status.success());
        // Open MPI and MPICH say it in their own words, on other streams.
        let (out, said) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
        let open_mpi = said.contains(&format!("process rank {rank}")) && said.contains("signal 9");
        assert!(open_mpi || out.contains("EXIT CODE: 9"), "{said}{out}");
        goes_on(&path);
        std::fs::remove_dir_all(path.join("run")).unwrap();
    }
}

#[test]
fn a_rank_or_launcher_that_is_asked_to_stop_ends_all_with_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for target in ["rank 1", "rank 0", "mpirun"] {
        let run = long(&path);
        let pid = match target {
            "rank 1" => process_of(1, &path),
            "rank 0" => process_of(0, &path),
            _ => run.id() as i32,
        };
        signal("-TERM", pid);
        let output = ended(run);
        let said = stderr(&output);
        assert_eq!(said.matches("stopped; checkpoint").count(), 1, "{target}: {said}");
        if target != "mpirun" {
            assert!(output.status.success(), "{target}: {said}");
        }
        goes_on(&path);
        std::fs::remove_dir_all(path.join("run")).unwrap();
    }
}

#[test]
fn an_image_that_one_rank_cannot_read_ends_all_with_its_name_and_the_rank() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images/train/a");
    std::fs::create_dir_all(&images).unwrap();
    for number in 0..16 {
        let image = image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 16, y as u8 * 16, number * 16]));
        image.save(images.join(format!("{number:02}.png"))).unwrap();
    }
    std::fs::write(images.join("07.png"), "no image").unwrap();
    let more = ["--out", "run", "--data", "imagefolder:images", "--set", "data.on_error=stop", "--set", "knn.every=0"];
    let output = on_ranks(2, &small(2, &more), folder.path());
    let said = stderr(&output);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("error: rank ") && said.contains("07.png"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn a_value_that_is_not_finite_ends_all_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let output = on_ranks(2, &small(2, &["--out", "run", "--set", "optim.lr=1e300"]), folder.path());
    let said = stderr(&output);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("training diverged") && said.contains("rank ") && said.contains("not finite"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}
