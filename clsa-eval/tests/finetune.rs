//! Fine-tuning: that all layers learn, that it can be interrupted, and how it reads its images.

mod small;
mod state;
mod works;

use candle_core::{DType, Tensor};
use clsa_augment::CenterCrop;
use clsa_data::{Dataset, Label, SampleError, Source, Split};
use clsa_eval::protocols::{
    EvalData, Finetune, FinetuneConfig, FinetuneResult, LinearConfig, SettingValue, Settings, TrainTest, Workbench,
    WorkbenchConfig, finetune, linear,
};
use clsa_model::FeatureStage;
use image::RgbImage;
use rayon::ThreadPoolBuilder;
use small::encoder;
use state::state;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use works::Works;

fn data(split: Split) -> Arc<dyn Dataset> {
    let source: Source = "procedural:classes=3,train=48,test=30,side=16".parse().unwrap();
    source.open(split).unwrap()
}

fn run(config: &FinetuneConfig, state: Option<&Path>, stop_after: u64) -> FinetuneResult {
    let encoder = encoder(0);
    // Of its own memory.
    let before = encoder.twin().unwrap().state_dict().unwrap();
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
    // Crops that leave most of an image: with small ones the loss hangs on the last bits of the sums.
    let train_loss = |lr: f64| {
        let config = FinetuneConfig { lr, epochs: 40, scale: (0.6, 1.0), ..config() };
        run(&config, None, 40).train_loss.unwrap()
    };
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

#[test]
fn the_end_of_the_backbone_is_trained_and_tested_wherever_features_are_taken() {
    let mut encoder = encoder(0);
    let images = TrainTest { train: data(Split::Train), test: data(Split::Test), transform: CenterCrop::new(16, 16) };
    let config = FinetuneConfig { epochs: 1, ..config() };
    let mut predictions = |stage: FeatureStage| {
        encoder.set_feature_stage(stage).unwrap();
        finetune(&encoder, &images, &config, None, &|_, _| {}).unwrap().predictions
    };
    let backbone = predictions(FeatureStage::Backbone);
    for stage in [FeatureStage::Embedding, FeatureStage::from("layer3".to_owned())] {
        assert_eq!(predictions(stage.clone()), backbone, "{stage}");
    }
}

/// The training images, with how often one was read, and how many threads read them together when the last one was.
struct Counted {
    images: Arc<dyn Dataset>,
    reads: AtomicUsize,
    threads: AtomicUsize,
}

impl Counted {
    fn new() -> Arc<Self> {
        Arc::new(Self { images: data(Split::Train), reads: AtomicUsize::new(0), threads: AtomicUsize::new(0) })
    }
}

impl Dataset for Counted {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn class_names(&self) -> &[String] {
        self.images.class_names()
    }

    fn label(&self, index: usize) -> Label {
        self.images.label(index)
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.threads.store(rayon::current_num_threads(), Ordering::Relaxed);
        self.images.image(index)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        self.images.dimensions(index)
    }

    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }
}

/// How often a training image was read by an epoch with these labels, and the works that were reported.
fn reads(labels: &str) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let train = Counted::new();
    let given = [("labels", SettingValue::Text(labels.to_owned())), ("epochs", SettingValue::Count(1))];
    let config = WorkbenchConfig {
        trained: &encoder(0),
        untrained: None,
        data: EvalData::new(train.clone(), Some(data(Split::Test))),
        transform: CenterCrop::new(16, 16),
        settings: given.into_iter().fold(Settings::new(0), |settings, (name, value)| settings.with(name, value)),
        cache: folder.path().to_owned(),
    };
    let works = Works::default();
    Workbench::new(config, &works).unwrap().run(&Finetune).unwrap();
    (train.reads.load(Ordering::Relaxed), works.0.into_inner())
}

#[test]
fn the_hash_of_all_training_images_is_not_made_twice_and_that_of_some_reports_its_progress() {
    let of_labeled = |works: &[String]| works.iter().any(|work| work == "labeled images, content");
    let (all, works) = reads("100%");
    assert!(all == 2 * 48 && !of_labeled(&works), "{all}: once for the hash, once for the epoch; {works:?}");
    let (some, works) = reads("50%");
    assert!(some == 48 + 2 * 24 && of_labeled(&works), "{some}: {works:?}");
}

#[test]
fn the_images_of_finetune_and_linear_are_read_on_as_many_threads_as_compute() {
    let train = Counted::new();
    let images = TrainTest { train: train.clone(), test: data(Split::Test), transform: CenterCrop::new(16, 16) };
    let tuned = FinetuneConfig { epochs: 1, ..config() };
    let frozen = LinearConfig { epochs: 1, lr: vec![0.1], ..LinearConfig::default() };
    // No machine has both numbers of cores.
    for threads in [1, 2] {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let read_by = |protocol: &(dyn Fn() + Sync)| {
            pool.install(protocol);
            train.threads.swap(0, Ordering::Relaxed)
        };
        let of_finetune = read_by(&|| drop(finetune(&encoder(0), &images, &tuned, None, &|_, _| {}).unwrap()));
        let of_linear = read_by(&|| drop(linear(&encoder(0), &images, &frozen, None, &|_, _| {}).unwrap()));
        assert_eq!((of_finetune, of_linear), (threads, threads));
    }
}
