//! Encoders: which engine computes them, and how near that is to f64.

use crate::{difference, f64s, gpu, images};
use candle_core::{DType, Device, Tensor};
use clsa_model::{Arch, Backend, Compute, Encoder, EngineKind, Gradients, Mode, ModelConfig, Precision, Stem};

struct Numbers {
    embedding: Vec<f64>,
    /// Of every parameter, in order.
    gradients: Vec<Vec<f64>>,
    statistics: Vec<f64>,
    features: Vec<f64>,
}

/// A training pass with its gradients, and features in evaluation.
fn pass(model: &ModelConfig, compute: Compute, device: &Device, side: usize) -> Numbers {
    let encoder = Encoder::new(model, compute, 7, device).unwrap();
    let dtype = if compute.precision == Precision::F64 { DType::F64 } else { DType::F32 };
    let images = images(6, side, 0.0).to_dtype(dtype).unwrap().to_device(device).unwrap();
    let pass = encoder.forward(&images).unwrap();
    let embedding = f64s(pass.embedding());
    let upstream: Vec<f64> = (0..embedding.len()).map(|i| (i as f64 * 1.7).sin()).collect();
    let upstream = Tensor::from_vec(upstream, pass.embedding().dims(), &Device::Cpu).unwrap();
    let upstream = upstream.to_dtype(pass.embedding().dtype()).unwrap().to_device(device).unwrap();
    let mut gradients = Gradients::new(encoder.parameters().len());
    pass.backward(&upstream, &mut gradients).unwrap();
    Numbers {
        embedding,
        gradients: gradients.iter().map(|gradient| f64s(gradient.unwrap())).collect(),
        statistics: encoder.running_statistics().iter().flat_map(|s| f64s(&s.var)).collect(),
        features: f64s(&encoder.features(&images).unwrap()),
    }
}

/// The worst differences from the truth: embedding, gradients (all parameters as one vector), statistics, features.
fn differences(got: &Numbers, truth: &Numbers) -> [f64; 4] {
    let of = |part: fn(&Numbers) -> Vec<f64>| difference(&part(got), &part(truth));
    [
        of(|n| n.embedding.clone()),
        of(|n| n.gradients.concat()),
        of(|n| n.statistics.clone()),
        of(|n| n.features.clone()),
    ]
}

/// Networks that have every operation: both stems, both blocks, a projection of stride 2.
fn models() -> [(&'static str, ModelConfig, usize); 2] {
    let config = |arch, stem| ModelConfig { arch, stem, width: 0.25, dim: 16, ..ModelConfig::default() };
    [
        ("resnet10 with the 3x3 stem", config(Arch::Resnet10, Stem::Cifar), 16),
        ("resnet50 with the 7x7 stem", config(Arch::Resnet50, Stem::Imagenet), 64),
    ]
}

/// In f32, what the GPU computes is as near to f64 as what the CPU computes, within a factor for the other order of sums;
/// in bf16 likewise.
fn assert_as_near_as_portable_on_the_cpu(backend: Backend, precision: Precision, bn_splits: usize) {
    let Some(gpu) = gpu() else { return };
    for (name, model, side) in models() {
        let compute = |backend, precision| Compute { backend, precision, bn_splits };
        let truth = pass(&model, compute(Backend::Portable, Precision::F64), &Device::Cpu, side);
        let cpu = differences(&pass(&model, compute(Backend::Portable, precision), &Device::Cpu, side), &truth);
        let got = differences(&pass(&model, compute(backend, precision), &gpu, side), &truth);
        println!("{name}, {backend:?} {precision:?}: CPU {cpu:?}, GPU {got:?} from f64");
        for (got, cpu) in got.iter().zip(&cpu) {
            let rounding = if precision == Precision::F32 { 2e-6 } else { 2e-3 };
            assert!(*got <= 2.0 * cpu + rounding, "{name}: {got:e} from f64, the CPU {cpu:e}");
        }
    }
}

#[test]
fn portable_operations_in_f32_are_as_near_to_f64_as_on_the_cpu() {
    assert_as_near_as_portable_on_the_cpu(Backend::Portable, Precision::F32, 1);
    assert_as_near_as_portable_on_the_cpu(Backend::Portable, Precision::F32, 2);
}

#[test]
fn portable_operations_in_bf16_are_as_near_to_f64_as_on_the_cpu() {
    assert_as_near_as_portable_on_the_cpu(Backend::Portable, Precision::Bf16, 1);
}

#[test]
fn kernels_in_f32_are_as_near_to_f64_as_portable_operations_on_the_cpu() {
    assert_as_near_as_portable_on_the_cpu(Backend::Cuda, Precision::F32, 1);
    assert_as_near_as_portable_on_the_cpu(Backend::Cuda, Precision::F32, 2);
}

#[test]
fn kernels_in_bf16_are_as_near_to_f64_as_portable_operations_on_the_cpu() {
    assert_as_near_as_portable_on_the_cpu(Backend::Cuda, Precision::Bf16, 1);
    assert_as_near_as_portable_on_the_cpu(Backend::Cuda, Precision::Bf16, 3);
}

#[test]
fn embedding_in_training_mode_moves_the_running_statistics_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let [(_, model, side), _] = models();
    let run = |device: &Device| {
        let encoder = Encoder::new(&model, Compute::default(), 7, device).unwrap();
        let images = images(6, side, 0.0).to_dtype(DType::F32).unwrap().to_device(device).unwrap();
        let embedding = encoder.embed(&images, Mode::Train).unwrap();
        (f64s(&embedding), encoder.running_statistics().iter().flat_map(|s| f64s(&s.var)).collect::<Vec<_>>())
    };
    let (expected, got) = (run(&Device::Cpu), run(&gpu));
    assert!(difference(&got.0, &expected.0) < 1e-4 && difference(&got.1, &expected.1) < 1e-5);
}

#[test]
fn the_engine_is_chosen_by_device_type_and_width() {
    let Some(gpu) = gpu() else { return };
    let engine = |width, backend, precision| {
        let model = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width, dim: 16, ..ModelConfig::default() };
        let encoder = Encoder::new(&model, Compute { backend, precision, bn_splits: 1 }, 0, &gpu);
        encoder.map(|encoder| (encoder.engine(), encoder.without_kernels().is_some()))
    };
    assert_eq!(engine(0.25, Backend::Auto, Precision::Bf16).unwrap(), (EngineKind::Cuda, false));
    assert_eq!(engine(0.25, Backend::Portable, Precision::F32).unwrap(), (EngineKind::Portable, false));
    // Why is said where it was not asked for.
    assert_eq!(engine(0.1, Backend::Auto, Precision::F32).unwrap(), (EngineKind::Portable, true));
    let error = engine(0.1, Backend::Cuda, Precision::F32).unwrap_err().to_string();
    assert!(error.contains("multiples of 8"), "{error}");
    assert!(
        engine(0.25, Backend::Cuda, Precision::F64).is_err() && engine(0.25, Backend::Cpu, Precision::F32).is_err()
    );
}
