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

/// A run of twelve steps in a folder, from the beginning or from a checkpoint; the tensors of its last checkpoint.
fn train(gpu: &Device, precision: &str, folder: &Path, checkpoint: Option<&Path>) -> HashMap<String, Tensor> {
    let changes = [
        "data.source=procedural:classes=4,train=96,test=16,side=16",
        "model.width=0.25",
        "eval={resize=16, crop=16}",
        "views={key={size=16}, weak=[{size=16}], strong=[{size=16, strong=true}]}",
        "knn={every=0}",
        "method.bank=32",
        "train={epochs=2, batch_size=16}",
        "checkpoint={every_steps=5, keep=10}",
        &format!("compute.precision={precision}"),
    ];
    let config = Config::load("demo", &changes.map(str::to_owned)).unwrap();
    let splits = config.data.source.parse::<Source>().unwrap().open_splits(Limits::default()).unwrap();
    let data = Datasets { train: splits.train, test: None, held_out: None };
    let (run, checkpoint) = match checkpoint.map(|path| LockedRun::resume(path).unwrap()) {
        Some(Resumption { run, checkpoint, .. }) => (run, Some(checkpoint)),
        None => (LockedRun::begin(folder).unwrap(), None),
    };
    let (device, communicator) = (gpu.clone(), Arc::new(SingleProcess));
    let trainer = TrainerConfig { config, run: Some(run), data, device, threads: 2, communicator };
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

#[test]
fn runs_give_equal_bits_also_when_resumed_in_the_middle_of_an_epoch() {
    let Some(gpu) = gpu() else { return };
    for precision in ["f32", "bf16"] {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let whole = train(&gpu, precision, &first, None);
        let again = train(&gpu, precision, &second, None);
        let resumed = train(&gpu, precision, &first, Some(&first.join("checkpoints/step-00000005.safetensors")));
        let (again, resumed) = (differing(&whole, &again), differing(&whole, &resumed));
        println!(
            "{precision}: {} of {} tensors differ in a second run, {} when resumed",
            again.len(),
            whole.len(),
            resumed.len()
        );
        assert!(again.is_empty(), "a second run differs: {again:?}");
        assert!(resumed.is_empty(), "a resumed run differs: {resumed:?}");
    }
}
