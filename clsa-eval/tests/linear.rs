//! The linear protocol: what it learns, and that it can be interrupted.

use candle_core::Device;
use clsa_data::{Source, Split};
use clsa_eval::{EvalError, EvalTransform, LinearConfig, TrainingProgress, linear};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use std::path::Path;

fn run(config: &LinearConfig, state: Option<&Path>, stop_after: u64) -> Result<clsa_eval::LinearResult, EvalError> {
    let source: Source = "procedural:classes=3,train=96,test=60,side=16".parse().unwrap();
    let (train, test) = (source.open(Split::Train).unwrap(), source.open(Split::Test).unwrap());
    let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
    let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap();
    let transform = EvalTransform::new(16, 16);
    let interrupt = |at: TrainingProgress| assert!(at.epoch < stop_after, "interrupted");
    linear(&encoder, &train, test.as_ref(), &transform, config, state, &interrupt)
}

fn config() -> LinearConfig {
    LinearConfig { epochs: 6, batch_size: 32, lr: vec![1.0], ..LinearConfig::default() }
}

#[test]
fn linear_fits_the_training_images_better_than_a_guess() {
    let result = run(&LinearConfig { epochs: 30, lr: vec![0.1], ..config() }, None, 30).unwrap();
    assert_eq!((result.predictions.ranked.len(), result.labels.len()), (60, 60));
    assert!(result.train_loss.unwrap() < 3f64.ln(), "{:?}", result.train_loss);
}

#[test]
fn an_interrupted_linear_evaluation_ends_with_the_same_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole.safetensors"), folder.path().join("parts.safetensors"));
    let uninterrupted = run(&config(), Some(&whole), 6).unwrap();
    let interrupted = std::panic::catch_unwind(|| run(&config(), Some(&parts), 3));
    assert!(interrupted.is_err());
    assert_ne!(std::fs::read(&whole).unwrap(), std::fs::read(&parts).unwrap());
    let resumed = run(&config(), Some(&parts), 6).unwrap();
    assert_eq!(resumed.predictions, uninterrupted.predictions);
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&parts).unwrap());
}

#[test]
fn a_damaged_state_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    std::fs::write(&state, b"nonsense").unwrap();
    let error = run(&config(), Some(&state), 6).unwrap_err();
    assert!(error.to_string().contains("state.safetensors"), "{error}");
}

#[test]
fn settings_out_of_range_are_refused() {
    for config in [
        LinearConfig { epochs: 0, ..config() },
        LinearConfig { batch_size: 0, ..config() },
        LinearConfig { lr: vec![f64::NAN], ..config() },
    ] {
        assert!(matches!(run(&config, None, 6), Err(EvalError::Setting { .. })));
    }
}
