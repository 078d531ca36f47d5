//! Steps: those of several ranks equal those of one process.

use crate::{mpirun, program, stderr};
use candle_core::{DType, Device, Tensor, Var};
use clsa_loss::MemoryBank;
use clsa_model::{Arch, Backend, Compute, ModelConfig, MomentumPair, Parameter, Precision, Stem};
use clsa_run::{BankKeys, MethodConfig, OptimConfig};
use clsa_train::replay::Trajectory;
use clsa_train::{Clsa, Communicator, Mpi, Optimizer, SingleProcess, Views};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SIDE: usize = 16;
const DIM: usize = 16;
const BANK: usize = 24;

/// Runs the ignored test `name` on two ranks.
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
    on_two_ranks("steps::compare_steps");
}

/// The variants of the method, and how many weak and strong views each has.
fn variants() -> [(&'static str, MethodConfig, usize, usize); 5] {
    let method = || MethodConfig { bank: BANK, momentum: 0.9, alpha: 0.7, ..MethodConfig::default() };
    [
        ("single", method(), 1, 1),
        ("multi", method(), 2, 2),
        ("symmetric", MethodConfig { symmetric: true, ..method() }, 2, 1),
        ("both keys", MethodConfig { symmetric: true, bank_keys: BankKeys::Both, ..method() }, 1, 0),
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
    on_two_ranks("steps::compare_orders");
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
    // The deeper network makes more of what sums in another order round: it has the tolerance of `tests/golden.rs`.
    for (case, groups, tolerance) in [
        ("single-r18-f64", 2, 1e-9),
        ("single-r50-f64", 2, 1e-7),
        ("multi-r18-f64", 2, 1e-9),
        ("moco-r18-f64", 4, 1e-9),
    ] {
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
            assert!((a - b).abs() <= tolerance * b.abs().max(1e-3), "{what}: {a} and {b}");
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
