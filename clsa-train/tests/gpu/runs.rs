//! Whole runs, which give the same bits every time and when they were stopped.

use crate::{difference, f64s, gpu};
use candle_core::{Device, Tensor};
use clsa_data::{Limits, Source};
use clsa_run::{AccuracyRecord, Config, LockedRun, Resumption, StepRecord};
use clsa_train::{Datasets, Observer, SingleProcess, Trainer, TrainerConfig};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &StepRecord, _: u64) {}

    fn knn(&mut self, _: &AccuracyRecord) {}

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

/// A run of twelve steps in a folder, with further changes, from the beginning or from a checkpoint; the tensors of its last
/// checkpoint.
fn train(gpu: &Device, further: &[&str], folder: &Path, checkpoint: Option<&Path>) -> HashMap<String, Tensor> {
    let changes = [
        "data.source=procedural:classes=4,train=96,test=16,side=16",
        "model.width=0.25",
        "eval={resize=16, crop=16}",
        "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}",
        "knn={every=0}",
        "method.bank=32",
        "train={epochs=2, batch_size=16}",
        "checkpoint={every_steps=5, keep=10}",
    ];
    let changes: Vec<String> = changes.iter().chain(further).map(|change| (*change).to_owned()).collect();
    let config = Config::load("demo", &changes).unwrap();
    let splits = config.data.source.parse::<Source>().unwrap().open_splits(Limits::default()).unwrap();
    let data = Datasets { train: splits.train, test: None, held_out: None };
    let (run, checkpoint) = match checkpoint.map(|path| LockedRun::resume(path).unwrap()) {
        Some(Resumption { run, checkpoint, .. }) => (run, Some(checkpoint)),
        None => (LockedRun::begin(folder).unwrap(), None),
    };
    let (device, communicator) = (gpu.clone(), Arc::new(SingleProcess));
    let trainer = TrainerConfig { config, pair: None, run: Some(run), data, device, threads: 2, communicator };
    Trainer::new(trainer, checkpoint.as_ref()).unwrap().run(&AtomicBool::new(false), &mut Silent).unwrap();
    candle_core::safetensors::load(folder.join("checkpoints/step-00000012.safetensors"), &Device::Cpu).unwrap()
}

/// What differs, and by how much.
fn differing(a: &HashMap<String, Tensor>, b: &HashMap<String, Tensor>) -> Vec<(String, f64)> {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().filter(|(name, _)| !name.is_empty()).map(|(name, a)| (name, f64s(a), f64s(&b[name])));
    let mut all: Vec<_> =
        pairs.filter(|(_, a, b)| a != b).map(|(name, a, b)| (name.clone(), difference(&a, &b))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A second run ends with the same bits, and so does one that goes on in the middle of an epoch.
fn assert_runs_give_equal_bits(changes: &[&str]) {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let whole = train(&gpu, changes, &first, None);
    let again = train(&gpu, changes, &second, None);
    let resumed = train(&gpu, changes, &first, Some(&first.join("checkpoints/step-00000005.safetensors")));
    let (again, resumed) = (differing(&whole, &again), differing(&whole, &resumed));
    println!(
        "{changes:?}: {} of {} tensors differ in a second run, {} when resumed",
        again.len(),
        whole.len(),
        resumed.len()
    );
    assert!(again.is_empty(), "a second run differs: {again:?}");
    assert!(resumed.is_empty(), "a resumed run differs: {resumed:?}");
}

#[test]
fn runs_give_equal_bits_also_when_resumed_in_the_middle_of_an_epoch() {
    for precision in ["compute.precision=f32", "compute.precision=bf16"] {
        assert_runs_give_equal_bits(&[precision]);
    }
}

#[test]
fn symmetric_losses_parts_lars_a_probe_and_a_bank_in_bf16_give_equal_bits_too() {
    assert_runs_give_equal_bits(&[
        "compute.precision=bf16",
        "compute.bn_splits=2",
        "compute.bank=bf16",
        "train.accumulate=2",
        "method.symmetric=true",
        "optim.kind=lars",
        "optim.clip_norm=1.0",
        "probe.lr=0.1",
    ]);
}
