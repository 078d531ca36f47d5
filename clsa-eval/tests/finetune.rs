//! Fine-tuning: that all layers learn, and that it can be interrupted.

use candle_core::{DType, Device, Tensor};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Source, Split};
use clsa_eval::protocols::{FinetuneConfig, FinetuneResult, TrainTest, finetune};
use clsa_model::{Arch, Compute, Encoder, ModelConfig, Stem};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn data(split: Split) -> Arc<dyn Dataset> {
    let source: Source = "procedural:classes=3,train=48,test=30,side=16".parse().unwrap();
    source.open(split).unwrap()
}

fn run(config: &FinetuneConfig, state: Option<&Path>, stop_after: u64) -> FinetuneResult {
    let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, stem: Stem::Cifar, ..ModelConfig::default() };
    let encoder = Encoder::new(&model, Compute::default(), 0, &Device::Cpu).unwrap();
    let before = encoder.state_dict().unwrap();
    let batches_per_epoch = 48 / config.batch_size as u64;
    let interrupt = |done: u64, of: u64| {
        assert_eq!(of, config.epochs * batches_per_epoch);
        assert!((done - 1) / batches_per_epoch < stop_after, "interrupted");
    };
    let (train, test) = (data(Split::Train), data(Split::Test));
    let images = TrainTest { train, test, transform: CenterCrop::new(16, 16) };
    let result = finetune(&encoder, &images, config, state, &interrupt).unwrap();
    for (name, tensor) in encoder.state_dict().unwrap() {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        assert_eq!(
            values(&tensor).to_vec1::<f64>().unwrap(),
            values(&before[&name]).to_vec1::<f64>().unwrap(),
            "{name}"
        );
    }
    result
}

fn config() -> FinetuneConfig {
    FinetuneConfig { epochs: 6, batch_size: 16, ..FinetuneConfig::default() }
}

#[test]
fn a_trained_backbone_fits_the_training_images_better_than_a_guess_and_than_one_that_hardly_moves() {
    let train_loss = |lr: f64| run(&FinetuneConfig { lr, epochs: 40, ..config() }, None, 40).train_loss.unwrap();
    let (trained, still) = (train_loss(0.05), train_loss(1e-9));
    assert!(
        trained < 0.8 * 3f64.ln() && trained < 0.8 * still,
        "{trained}, and {still} with a backbone that hardly moves"
    );
}

#[test]
fn an_interrupted_fine_tuning_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole.safetensors"), folder.path().join("parts.safetensors"));
    let uninterrupted = run(&config(), Some(&whole), 6);
    let interrupted = std::panic::catch_unwind(|| run(&config(), Some(&parts), 3));
    assert!(interrupted.is_err());
    assert!(state(&whole) != state(&parts));
    let resumed = run(&config(), Some(&parts), 6);
    assert_eq!(resumed.predictions, uninterrupted.predictions);
    assert!(state(&whole) == state(&parts));
    assert_eq!(resumed.train_loss.map(f64::to_bits), uninterrupted.train_loss.map(f64::to_bits));
    assert!(uninterrupted.seconds_before_resume == 0.0 && resumed.seconds_before_resume > 0.0);
}

/// What a state holds but for the time it took.
fn state(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let flat = |t: Tensor| t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    tensors.into_iter().filter(|(name, _)| name != "seconds").map(|(name, t)| (name, flat(t))).collect()
}
