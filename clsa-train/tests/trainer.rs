//! The trainer as a library: several ranks, and an observer in place of a terminal.

use candle_core::{Device, Tensor};
use clsa_data::image::RgbImage;
use clsa_data::order::shuffled;
use clsa_data::{Dataset, Label, Limits, SampleError, Source};
use clsa_model::{EngineKind, ModelConfig, MomentumPair, weights};
use clsa_run::{
    AccuracyRecord, Checkpoint, Config, LabelFreeRecord, LockedRun, Record, Resumption, RunFolder, StepRecord,
};
use clsa_train::{
    Communicator, Datasets, End, Observer, PendingMean, SingleProcess, TrainError, Trainer, TrainerConfig, build,
};
use settings::settings;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use thread_ranks::ThreadRank;

#[path = "tiny/settings.rs"]
mod settings;
mod thread_ranks;

/// Two epochs of four steps of a batch of 16, on all ranks together.
fn config(ranks: usize) -> Config {
    let own = [
        "train.epochs=2".to_owned(),
        "compute.precision=f64".to_owned(),
        "compute.backend=portable".to_owned(),
        format!("train.batch_size={}", 16 / ranks),
        format!("compute.bn_splits={}", if ranks == 1 { 2 } else { 1 }),
    ];
    Config::load("demo", &settings().map(str::to_owned).chain(own).collect::<Vec<_>>()).unwrap()
}

#[derive(Default)]
struct Recorded {
    steps: Vec<StepRecord>,
    knn: Vec<AccuracyRecord>,
    label_free: Vec<LabelFreeRecord>,
}

impl Observer for Recorded {
    fn step(&mut self, record: &StepRecord, steps: u64) {
        assert_eq!(steps, 8);
        self.steps.push(*record);
    }

    fn knn(&mut self, record: &AccuracyRecord) {
        self.knn.push(*record);
    }

    fn label_free(&mut self, record: &LabelFreeRecord) {
        self.label_free.push(*record);
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

fn images(config: &Config) -> Datasets {
    let splits = config.data.source.parse::<Source>().unwrap().open_splits(Limits::default()).unwrap();
    let (train, test) = (splits.train, splits.test.ok());
    Datasets { train, held_out: test.clone(), test }
}

fn train(folder: &Path, config: Config, communicator: Arc<dyn Communicator>) -> (End, Recorded) {
    let (end, recorded) = train_on(images(&config), folder, config, communicator);
    (end.unwrap(), recorded)
}

fn train_on(
    data: Datasets,
    folder: &Path,
    config: Config,
    communicator: Arc<dyn Communicator>,
) -> (Result<End, TrainError>, Recorded) {
    // Of the others' nothing is left.
    let run = Some(LockedRun::begin(folder).unwrap());
    let trainer = TrainerConfig { config, pair: None, run, data, device: Device::Cpu, threads: 1, communicator };
    let mut recorded = Recorded::default();
    let end = Trainer::new(trainer, None).unwrap().run(&AtomicBool::new(false), &mut recorded);
    (end, recorded)
}

#[test]
fn an_observer_sees_what_the_metrics_record() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (end, recorded) = train(&run, config(1), Arc::new(SingleProcess));
    let steps = recorded.steps.iter().map(|step| Record::Step(*step));
    let knn = recorded.knn.iter().map(|knn| Record::Knn(*knn));
    let observed = steps.chain(knn).chain(recorded.label_free.iter().map(|record| Record::LabelFree(*record)));
    let mut observed: Vec<String> = observed.map(|record| serde_json::to_string(&record).unwrap()).collect();
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut recorded: Vec<&str> = text.lines().collect();
    observed.sort();
    recorded.sort();
    assert_eq!(observed, recorded);
    assert!(matches!(end, End::Finished { before: Some(_), after: Some(_) }), "{end:?}");
}

#[test]
fn views_have_the_sizes_of_their_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, sizes: &str, stop_epoch: u64| {
        let mut config = config(1);
        let view = format!("size = 16\nearly_sizes = {sizes}");
        config.views.weak = vec![toml::from_str(&view).unwrap()];
        config.train.stop_epoch = stop_epoch;
        let (_, recorded) = train(&folder.path().join(name), config, Arc::new(SingleProcess));
        recorded.steps.iter().map(|step| step.loss).collect::<Vec<f64>>()
    };
    let large = losses("large", "[]", 0);
    let small = losses("small", "[{until_epoch = 9, size = 12}]", 0);
    let grows = losses("grows", "[{until_epoch = 1, size = 12}]", 0);
    // The first epoch has the small views' losses; then the images are large, but the weights others than those of the first.
    assert_eq!(grows[..4], small[..4]);
    assert!(grows[..4].iter().zip(&large).all(|(a, b)| a != b));
    assert!(grows[4..].iter().zip(&small[4..]).all(|(a, b)| a != b));
}

#[test]
fn ranks_share_the_data_and_only_the_first_writes_evaluates_and_is_observed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let ranks: Vec<_> = ThreadRank::group(2)
        .into_iter()
        .map(|communicator| {
            // A rank that wrote into a folder of its own would be seen.
            let folder = if communicator.is_first() { run.clone() } else { folder.path().join("other") };
            std::thread::spawn(move || train(&folder, config(2), Arc::new(communicator)))
        })
        .collect();
    let mut ends: Vec<_> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
    let (end, recorded) = ends.pop().unwrap();
    assert!(matches!(end, End::Finished { before: None, after: None }) && recorded.steps.is_empty(), "{end:?}");
    let (end, recorded) = ends.pop().unwrap();
    assert!(matches!(end, End::Finished { before: Some(_), after: Some(_) }), "{end:?}");
    assert_eq!((recorded.steps.len(), recorded.knn.len()), (8, 3));
    assert!(run.join("checkpoints/step-00000008.safetensors").exists());
    assert!(!folder.path().join("other").exists());
    let (_, alone) = train(&folder.path().join("alone"), config(1), Arc::new(SingleProcess));
    for (shared, alone) in recorded.steps.iter().zip(&alone.steps) {
        assert!((shared.loss - alone.loss).abs() < 1e-9 * alone.loss, "{shared:?} {alone:?}");
    }
}

/// Images that are counted as they are read, and of which one may be bad.
struct Watched {
    images: Arc<dyn Dataset>,
    bad: Option<usize>,
    read: AtomicUsize,
}

impl Dataset for Watched {
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
        self.read.fetch_add(1, Ordering::Relaxed);
        if Some(index) == self.bad {
            return Err(SampleError::Decode { name: self.name(index), reason: "it is bad".to_owned() });
        }
        self.images.image(index)
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        self.images.dimensions(index)
    }

    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }
}

#[test]
fn a_bad_image_too_many_on_one_rank_ends_all_with_a_checkpoint_of_their_last_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut config = config(2);
    config.checkpoint.every = 9;
    // The second rank meets it in the third step of the second epoch, and not before.
    let order = |epoch: u64| shuffled(config.train.seed, epoch, 64);
    let seen: Vec<u32> = order(0).chunks(8).skip(1).step_by(2).flatten().copied().collect();
    let bad = order(1)[40..48].iter().copied().find(|image| !seen.contains(image)).unwrap() as usize;
    let ranks: Vec<_> = ThreadRank::group(2)
        .into_iter()
        .map(|communicator| {
            let (folder, config) = (folder.path().to_owned(), config.clone());
            std::thread::spawn(move || {
                let mut data = images(&config);
                let mut run = folder.join("run");
                if !communicator.is_first() {
                    run = folder.join("other");
                    data.train = Arc::new(Watched { images: data.train, bad: Some(bad), read: AtomicUsize::new(0) });
                }
                train_on(data, &run, config, Arc::new(communicator)).0.map_err(Box::new)
            })
        })
        .collect();
    for rank in ranks {
        let error = rank.join().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("rank 1: 1 of 64 samples are bad"), "{error}");
        assert!(error.is_of_images() && !error.is_of_store() && !error.is_request(), "{error}");
    }
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let names = checkpoints.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["step-00000006.safetensors"]);
}

/// Ends a run in its first step, when so many images are read, and no further one for a while.
struct Stopping<'a> {
    images: &'a Watched,
    expected: usize,
    stop: &'a AtomicBool,
}

impl Observer for Stopping<'_> {
    fn step(&mut self, _: &StepRecord, _: u64) {
        let (start, read) = (Instant::now(), || self.images.read.load(Ordering::Relaxed));
        while read() < self.expected && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Time to do what it must not do; a pause that is too short lets a wrong trainer pass, but fails no right one.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(read(), self.expected);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn knn(&mut self, _: &AccuracyRecord) {}

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn as_many_batches_are_made_ahead_as_the_configuration_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    for prefetch in [1, 3] {
        let mut config = config(1);
        (config.knn.every, config.data.prefetch) = (0, prefetch);
        let watched = Arc::new(Watched { images: images(&config).train, bad: None, read: AtomicUsize::new(0) });
        let data = Datasets { train: watched.clone(), test: None, held_out: None };
        let run = Some(LockedRun::begin(&folder.path().join(prefetch.to_string())).unwrap());
        let (communicator, stop) = (Arc::new(SingleProcess), AtomicBool::new(false));
        let trainer = TrainerConfig { config, pair: None, run, data, device: Device::Cpu, threads: 1, communicator };
        // Those of the picture of the first batch, of this batch, and of those ahead.
        let expected = 8 + 16 * (1 + prefetch);
        let mut stopping = Stopping { images: &watched, expected, stop: &stop };
        let end = Trainer::new(trainer, None).unwrap().run(&stop, &mut stopping).unwrap();
        assert!(matches!(end, End::Stopped(Some(_))), "{end:?}");
    }
}

#[test]
fn both_encoders_are_computed_by_the_backend_that_the_configuration_asks_for() {
    for (backend, kind) in [("auto", EngineKind::Cpu), ("cpu", EngineKind::Cpu), ("portable", EngineKind::Portable)] {
        let change = format!("compute.backend={backend}");
        let changes: Vec<String> = settings().map(str::to_owned).chain([change]).collect();
        let clsa = build(&Config::load("demo", &changes).unwrap(), &Device::Cpu, Arc::new(SingleProcess)).unwrap();
        assert_eq!([clsa.pair.query.engine(), clsa.pair.key.engine()], [kind; 2], "{backend}");
    }
}

/// A rank that is given other means than the first.
struct Drifting(ThreadRank);

impl Communicator for Drifting {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn world_size(&self) -> usize {
        self.0.world_size()
    }

    fn all_gather(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        self.0.all_gather(tensor)
    }

    fn begin_mean(&self, values: Tensor) -> candle_core::Result<PendingMean> {
        let (mean, rank) = (self.0.begin_mean(values)?, self.rank());
        Ok(PendingMean::new(move || if rank == 1 { mean.wait()? * (1.0 + 1e-9) } else { mean.wait() }))
    }
}

#[test]
fn ranks_that_drift_apart_end_their_run_before_they_write_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let ranks: Vec<_> = ThreadRank::group(2)
        .into_iter()
        .map(|communicator| {
            let folder = folder.path().join(if communicator.is_first() { "run" } else { "other" });
            let config = config(2);
            std::thread::spawn(move || {
                train_on(images(&config), &folder, config, Arc::new(Drifting(communicator))).0.map_err(Box::new)
            })
        })
        .collect();
    for rank in ranks {
        let error = rank.join().unwrap().unwrap_err();
        assert!(matches!(*error, TrainError::Drifted { epoch: 1, rank: 1, .. }), "{error}");
    }
    let written = std::fs::read_dir(folder.path().join("run/checkpoints")).map_or(0, Iterator::count);
    assert_eq!(written, 0);
}

#[test]
fn the_first_rank_is_refused_a_training_whose_result_would_be_lost() {
    let config = config(1);
    let (data, communicator) = (images(&config), Arc::new(SingleProcess));
    let trainer = TrainerConfig { config, pair: None, run: None, data, device: Device::Cpu, threads: 1, communicator };
    let error = Trainer::new(trainer, None).err().expect("it has no folder");
    assert!(error.to_string().starts_with("run: the first rank has no folder"), "{error}");
    assert!(error.is_request());
}

#[test]
fn encoders_that_are_given_are_those_that_are_trained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let train = |stop_epoch: u64, run: LockedRun, checkpoint: Option<&Checkpoint>| {
        let mut config = config(1);
        config.train.stop_epoch = stop_epoch;
        // Of another architecture than the configuration names, in embeddings too.
        let own = ModelConfig { width: 0.25, dim: 24, ..config.model.clone() };
        let pair = MomentumPair::new(&own, config.encoders(), config.method.momentum, 7, &Device::Cpu).unwrap();
        let before = pair.query.twin().unwrap().state_dict().unwrap();
        let (data, communicator, device) = (images(&config), Arc::new(SingleProcess), Device::Cpu);
        let (pair, run) = (Some(pair), Some(run));
        let trainer = TrainerConfig { config, pair, run, data, device, threads: 1, communicator };
        let trainer = Trainer::new(trainer, checkpoint).unwrap();
        (trainer.run(&AtomicBool::new(false), &mut Recorded::default()).unwrap(), before)
    };
    let (end, before) = train(1, LockedRun::begin(&path).unwrap(), None);
    assert!(matches!(end, End::Paused(Some(_))), "{end:?}");
    let Resumption { run, checkpoint, .. } = LockedRun::resume(&path).unwrap();
    let (end, _) = train(0, run, Some(&checkpoint));
    assert!(matches!(end, End::Finished { .. }), "{end:?}");
    let file = weights::read(&RunFolder::open(&path).unwrap().newest_checkpoint().unwrap()).unwrap();
    assert_eq!(file.bank.unwrap().dims(), [32, 24]);
    for (name, before) in before {
        assert_eq!(file.tensors[&name].dims(), before.dims(), "{name}");
    }
}
