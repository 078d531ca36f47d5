//! Steps: their loss, their updates, and that they give the same bits every time.

use crate::{difference, f64s, gpu, images};
use candle_core::{DType, Device, Tensor};
use clsa_loss::{Backend as LossBackend, Candidates, ClsaLoss, MemoryBank};
use clsa_model::{Arch, Backend, Compute, Encoder, Gradients, ModelConfig, Precision, Stem};
use clsa_run::{MethodConfig, OptimConfig, OptimizerKind};
use clsa_train::{Clsa, Communicator, Optimizer, SingleProcess, TrainError, Views};
use std::sync::Arc;

/// A small state of training on the GPU, of a fixed seed.
fn clsa(backend: Backend, precision: Precision, gpu: &Device) -> Clsa {
    clsa_of(Compute { backend, precision, bn_splits: 2 }, gpu, Arc::new(SingleProcess))
}

pub fn clsa_of(compute: Compute, gpu: &Device, communicator: Arc<dyn Communicator>) -> Clsa {
    clsa_of_width(0.25, compute, gpu, communicator)
}

pub fn clsa_of_width(width: f64, compute: Compute, gpu: &Device, communicator: Arc<dyn Communicator>) -> Clsa {
    let model = ModelConfig { arch: Arch::Resnet18, stem: Stem::Cifar, width, dim: 32, ..ModelConfig::default() };
    let method = MethodConfig { bank: 256, ..MethodConfig::default() };
    let pair = clsa_model::MomentumPair::new(&model, compute, 0.99, 1, gpu).unwrap();
    let bank = MemoryBank::random(256, 32, 2, DType::F32, gpu).unwrap();
    let optimizer = Optimizer::new(pair.query.parameters(), &OptimConfig::default()).unwrap();
    Clsa::new(pair, bank, optimizer, &method, communicator, 3)
}

pub fn views(gpu: &Device, phase: f64) -> Views {
    let view = |side, phase| images(8, side, phase).to_dtype(DType::F32).unwrap().to_device(gpu).unwrap();
    Views {
        key: view(32, phase),
        weak: vec![view(32, phase + 1.0)],
        strong: vec![view(24, phase + 2.0)],
        bytes: Vec::new(),
    }
}

/// Every number that training changes.
pub fn state(clsa: &Clsa) -> Vec<f64> {
    let encoders = [&clsa.pair.query, &clsa.pair.key];
    let mut all: Vec<f64> =
        encoders.iter().flat_map(|encoder| encoder.parameters()).flat_map(|p| f64s(p.var.as_tensor())).collect();
    all.extend(clsa.optimizer.state().iter().flat_map(|(_, v)| f64s(v.as_tensor())));
    all.extend(f64s(clsa.bank.rows()));
    all
}

fn assert_two_runs_give_equal_bits(backend: Backend, precision: Precision) {
    let Some(gpu) = gpu() else { return };
    let run = || {
        let mut clsa = clsa(backend, precision, &gpu);
        let losses: Vec<f64> = (0..4).map(|i| clsa.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
        (losses, state(&clsa))
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the states differ by {:e}", difference(&first.1, &second.1));
}

#[test]
fn two_runs_of_portable_operations_give_equal_bits() {
    assert_two_runs_give_equal_bits(Backend::Portable, Precision::F32);
    assert_two_runs_give_equal_bits(Backend::Portable, Precision::Bf16);
}

#[test]
fn two_runs_of_kernels_give_equal_bits() {
    assert_two_runs_give_equal_bits(Backend::Cuda, Precision::F32);
    assert_two_runs_give_equal_bits(Backend::Cuda, Precision::Bf16);
}

#[test]
fn a_view_that_is_not_finite_is_named_and_nothing_is_updated() {
    let Some(gpu) = gpu() else { return };
    let mut clsa = clsa(Backend::Auto, Precision::F32, &gpu);
    clsa.step(&views(&gpu, 0.0), 0.05).unwrap();
    let parameters = |clsa: &Clsa| -> Vec<f64> {
        let query = clsa.pair.query.parameters().iter().flat_map(|p| f64s(p.var.as_tensor()));
        query
            .chain(clsa.optimizer.state().iter().flat_map(|(_, v)| f64s(v.as_tensor())))
            .chain(f64s(clsa.bank.rows()))
            .collect()
    };
    let before = parameters(&clsa);
    let mut broken = views(&gpu, 1.0);
    broken.strong[0] = (broken.strong[0].clone() * f64::NAN).unwrap();
    match clsa.step(&broken, 0.05) {
        Err(TrainError::NotFinite { what }) => assert_eq!(what, "embedding of strong view 0"),
        other => panic!("{other:?}"),
    }
    assert!(before == parameters(&clsa));
    assert!(clsa.step(&views(&gpu, 2.0), 0.05).unwrap().loss.is_finite());
}

#[test]
fn the_loss_and_its_gradients_are_those_of_f64() {
    let Some(gpu) = gpu() else { return };
    for (batch, bank, weak, strong) in [(32, 4096, 1, 1), (16, 10_000, 3, 2), (64, 65_536, 5, 5)] {
        let loss = |device: &Device, dtype: DType, backend| {
            let unit = |seed, rows| {
                let rows = MemoryBank::random(rows, 128, seed, DType::F32, &Device::Cpu).unwrap();
                rows.rows().to_dtype(dtype).unwrap().to_device(device).unwrap()
            };
            let views = |from: u64, n: usize| (0..n as u64).map(|i| unit(from + i, batch)).collect::<Vec<_>>();
            let (keys, bank) = (unit(1, batch), MemoryBank::from_rows(unit(2, bank), 0).unwrap());
            let pending = ClsaLoss { backend, ..ClsaLoss::default() }
                .begin(&views(10, weak), &views(100, strong), Candidates::new(&keys).with_bank(&bank))
                .unwrap();
            let gradients = (0..weak).map(|i| pending.weak_gradient(i));
            let gradients: Vec<f64> = gradients
                .chain((0..strong).map(|j| pending.strong_gradient(j)))
                .flat_map(|g| f64s(&g.unwrap()))
                .collect();
            (pending.wait().unwrap(), gradients)
        };
        let (expected, expected_gradients) = loss(&Device::Cpu, DType::F64, LossBackend::Cpu);
        let (got, gradients) = loss(&gpu, DType::F32, LossBackend::Auto);
        let error = (got.total - expected.total).abs() / expected.total;
        let worst = difference(&gradients, &expected_gradients);
        println!("loss of {weak}+{strong} views, {batch} x {bank}: {error:e}, gradients {worst:e}");
        assert!(error < 1e-6 && worst < 5e-6, "loss {error:e}, gradients {worst:e}");
        assert_eq!(got.acc1, expected.acc1);
    }
}

#[test]
fn the_updates_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let run = |config: &OptimConfig, device: &Device| {
        let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, dim: 8, ..ModelConfig::default() };
        let pair = clsa_model::MomentumPair::new(&model, Compute::default(), 0.9, 1, device).unwrap();
        let mut gradients = Gradients::new(pair.query.parameters().len());
        let mut optimizer = Optimizer::new(pair.query.parameters(), config).unwrap();
        for step in 0..3 {
            for parameter in pair.query.parameters() {
                let values: Vec<f32> =
                    (0..parameter.var.elem_count()).map(|i| (i as f32 + step as f32).sin()).collect();
                let gradient = Tensor::from_vec(values, parameter.var.dims(), &Device::Cpu).unwrap();
                gradients.set(parameter.index, gradient.to_device(device).unwrap());
            }
            pair.update_key().unwrap();
            optimizer.step(pair.query.parameters(), &gradients, 0.1, step).unwrap();
        }
        let of =
            |encoder: &Encoder| encoder.parameters().iter().flat_map(|p| f64s(p.var.as_tensor())).collect::<Vec<_>>();
        (of(&pair.query), of(&pair.key))
    };
    let decay = OptimConfig { weight_decay: 1e-2, ..OptimConfig::default() };
    for config in [
        decay.clone(),
        OptimConfig { clip_norm: 0.5, exclude_norm_and_bias: true, ..decay.clone() },
        OptimConfig { kind: OptimizerKind::Lars, ..decay.clone() },
        OptimConfig { kind: OptimizerKind::Adamw, ..decay },
    ] {
        let (expected, got) = (run(&config, &Device::Cpu), run(&config, &gpu));
        let (query, key) = (difference(&got.0, &expected.0), difference(&got.1, &expected.1));
        assert!(query < 1e-6 && key < 1e-6, "{config:?}: query encoder {query:e}, key encoder {key:e}");
    }
}

#[test]
fn a_batch_in_parts_is_the_whole_one_with_as_many_groups_of_batch_norm() {
    let Some(gpu) = gpu() else { return };
    let run = |parts: usize, bn_splits: usize| {
        let compute = Compute { backend: Backend::Auto, precision: Precision::F32, bn_splits };
        let mut clsa = clsa_of(compute, &gpu, Arc::new(SingleProcess));
        clsa.parts = parts;
        for i in 0..2 {
            clsa.step(&views(&gpu, f64::from(i)), 0.05).unwrap();
        }
        let encoders = [&clsa.pair.query, &clsa.pair.key];
        let statistics = encoders.iter().flat_map(|encoder| encoder.running_statistics()).flat_map(|s| f64s(&s.var));
        (state(&clsa), statistics.collect::<Vec<f64>>())
    };
    let (whole, parts) = (run(1, 2), run(2, 1));
    let (of_state, of_statistics) = (difference(&parts.0, &whole.0), difference(&parts.1, &whole.1));
    assert!(of_state < 1e-4 && of_statistics < 1e-4, "state {of_state:e}, running statistics {of_statistics:e}");
}
