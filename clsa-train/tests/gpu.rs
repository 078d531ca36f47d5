//! Training on a GPU: against the CPU, against the original implementation, and against itself. Where there is no GPU, the
//! tests say so and pass.

use candle_core::{DType, Device, Tensor};
use clsa_data::{Limits, Source};
use clsa_loss::{Backend as LossBackend, Candidates, ClsaLoss, MemoryBank};
use clsa_model::{Arch, Backend, Compute, Encoder, EngineKind, Gradients, Mode, ModelConfig, Precision, Stem};
use clsa_run::{AccuracyRecord, Config, LockedRun, MethodConfig, OptimConfig, Resumption, StepRecord};
use clsa_train::replay::{Case, Trajectory, replay};
use clsa_train::{
    Clsa, Communicator, Datasets, ImageBytes, Observer, Optimizer, SingleProcess, TrainError, Trainer, TrainerConfig,
    Views,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// The first GPU, opened once: a process has one stream for all its tests.
fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let open = || match clsa_cuda::open(0) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("not tested: {error}");
            None
        }
    };
    GPU.get_or_init(open).clone()
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    let host = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    host.flatten_all().unwrap().to_vec1().unwrap()
}

/// The length of the difference over the length of what is expected.
fn difference(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let distance: f64 = got.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    let length: f64 = expected.iter().map(|b| b * b).sum();
    assert!(distance.is_finite());
    (distance / length.max(1e-300)).sqrt()
}

/// Smooth numbers of mixed sign, the same everywhere.
fn images(n: usize, side: usize, phase: f64) -> Tensor {
    let value = |i: usize| (i as f64 * 0.37 + phase).sin() + 0.5 * (i as f64 * 0.0113).cos();
    let values: Vec<f64> = (0..n * 3 * side * side).map(value).collect();
    Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap()
}

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

fn trajectory(name: &str, backend: Backend, precision: Precision, gpu: &Device) -> (Case, Trajectory) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    // The bundle for another machine holds the cases beside the tests.
    let text = std::fs::read_to_string(&path).or_else(|_| std::fs::read_to_string(format!("golden/{name}.json")));
    let case: Case = serde_json::from_str(&text.unwrap()).unwrap();
    let compute = Compute { backend, precision, bn_splits: case.config.bn_splits };
    let got = replay(&case, compute, gpu, Arc::new(SingleProcess)).unwrap();
    (case, got)
}

fn assert_starts_like_the_original(backend: Backend, precision: Precision, loss: f64, gradients: f64) {
    let Some(gpu) = gpu() else { return };
    for name in ["single-r18-f32", "multi-r18-f32", "single-r50-f32", "moco-r18-f64"] {
        let (case, got) = trajectory(name, backend, precision, &gpu);
        let (got, expected) = (&got.steps[0], &case.steps[0]);
        // MoCo's DDM is 0.
        let error = |got: f64, expected: f64| (got - expected).abs() / expected.abs().max(1e-12);
        let worst =
            expected.grad_norms.iter().map(|(name, norm)| error(got.grad_norms[name], *norm)).fold(0.0, f64::max);
        println!("{name}, {backend:?} {precision:?}: loss {:e}, gradients {worst:e}", error(got.loss, expected.loss));
        assert!(error(got.loss, expected.loss) <= loss, "{name}: loss {} instead of {}", got.loss, expected.loss);
        assert!(error(got.contrastive, expected.contrastive) <= loss && error(got.ddm, expected.ddm) <= loss);
        assert!(worst <= gradients, "{name}: a gradient's norm is off by {worst:e}");
    }
}

#[test]
fn portable_operations_start_like_the_original_in_f32() {
    assert_starts_like_the_original(Backend::Portable, Precision::F32, 1e-4, 5e-3);
}

#[test]
fn kernels_start_like_the_original_in_f32_and_near_it_in_bf16() {
    assert_starts_like_the_original(Backend::Cuda, Precision::F32, 1e-4, 5e-3);
    assert_starts_like_the_original(Backend::Cuda, Precision::Bf16, 3e-2, 0.3);
}

/// A small state of training on the GPU, of a fixed seed.
fn clsa(backend: Backend, precision: Precision, gpu: &Device) -> Clsa {
    clsa_of(Compute { backend, precision, bn_splits: 2 }, gpu, Arc::new(SingleProcess))
}

fn clsa_of(compute: Compute, gpu: &Device, communicator: Arc<dyn Communicator>) -> Clsa {
    let model = ModelConfig { arch: Arch::Resnet18, stem: Stem::Cifar, width: 0.25, dim: 32, ..ModelConfig::default() };
    let method = MethodConfig { bank: 256, ..MethodConfig::default() };
    let pair = clsa_model::MomentumPair::new(&model, compute, 0.99, 1, gpu).unwrap();
    let bank = MemoryBank::random(256, 32, 2, DType::F32, gpu).unwrap();
    let optimizer = Optimizer::new(pair.query.parameters(), &OptimConfig::default()).unwrap();
    Clsa::new(pair, bank, optimizer, &method, communicator, 3)
}

fn views(gpu: &Device, phase: f64) -> Views {
    let view = |side, phase| images(8, side, phase).to_dtype(DType::F32).unwrap().to_device(gpu).unwrap();
    Views {
        key: view(32, phase),
        weak: vec![view(32, phase + 1.0)],
        strong: vec![view(24, phase + 2.0)],
        bytes: Vec::new(),
    }
}

/// Every number that training changes.
fn state(clsa: &Clsa) -> Vec<f64> {
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

#[cfg(feature = "nccl")]
#[test]
fn one_rank_over_nccl_has_the_bits_of_one_process() {
    let Some(gpu) = gpu() else { return };
    let nccl = clsa_train::Nccl::join(&gpu, 0, 1, "127.0.0.1:0", std::time::Duration::from_secs(60)).unwrap();
    for precision in [Precision::F32, Precision::Bf16] {
        let compute = Compute { backend: Backend::Auto, precision, bn_splits: 2 };
        let run = |communicator: Arc<dyn Communicator>| {
            let mut clsa = clsa_of(compute, &gpu, communicator);
            let losses: Vec<f64> = (0..4).map(|i| clsa.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
            (losses, state(&clsa))
        };
        // The images of ShuffleBN and the keys go through NCCL.
        let (alone, over_nccl) = (run(Arc::new(SingleProcess)), run(Arc::new(nccl.clone())));
        assert_eq!(alone.0, over_nccl.0);
        assert!(alone.1 == over_nccl.1, "the states differ by {:e}", difference(&alone.1, &over_nccl.1));
        let step = |as_bytes: bool| {
            let pixels: Vec<u8> = (0..8 * 32 * 32 * 3).map(|i| (i * i % 251) as u8).collect();
            let pixels = Tensor::from_vec(pixels, (8, 32, 32, 3), &gpu).unwrap();
            let tables = clsa_augment::Normalize::IMAGENET.tables().concat();
            let tables = Tensor::from_vec(tables, (3, 256), &gpu).unwrap();
            let bytes = ImageBytes { pixels: pixels.clone(), tables };
            let key = bytes.normalized(&pixels).unwrap();
            let views = Views { key, bytes: Vec::from_iter(as_bytes.then_some(bytes)), ..views(&gpu, 0.0) };
            let mut clsa = clsa_of(compute, &gpu, Arc::new(nccl.clone()));
            (clsa.step(&views, 0.05).unwrap().loss, state(&clsa))
        };
        assert!(step(true) == step(false), "the images of ShuffleBN have other bits as bytes");
    }
    for device in [&gpu, &Device::Cpu] {
        let values = Tensor::arange(0f32, 5000.0, device).unwrap();
        let rows = values.reshape((50, 10, 10)).unwrap();
        let order = clsa_train::Shuffle::new(50, 1, 1).order;
        let places = Tensor::from_slice(&order, 50, device).unwrap();
        assert_eq!(f64s(&nccl.all_gather(&rows).unwrap()), f64s(&rows));
        let permuted = nccl.permute(&rows, &order).unwrap();
        assert_eq!(f64s(&permuted), f64s(&rows.index_select(&places, 0).unwrap()));
        assert_eq!(f64s(&nccl.begin_mean(values.clone()).unwrap().wait().unwrap()), f64s(&values));
    }
}

#[cfg(feature = "nccl")]
#[test]
fn two_gpus_equal_one_with_two_batch_norm_groups() {
    let Some(gpu) = gpu() else { return };
    if clsa_cuda::device_count().unwrap() < 2 {
        eprintln!("this machine has one GPU");
        return;
    }
    let compute = |bn_splits| Compute { backend: Backend::Auto, precision: Precision::F32, bn_splits };
    let mut alone = clsa_of(compute(2), &gpu, Arc::new(SingleProcess));
    let losses: Vec<f64> = (0..4).map(|i| alone.step(&views(&gpu, f64::from(i)), 0.05).unwrap().loss).collect();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ranks: Vec<_> = (0..2)
        .map(|rank| {
            std::thread::spawn(move || {
                let gpu = clsa_cuda::open(rank).unwrap();
                let patience = std::time::Duration::from_secs(60);
                let nccl = clsa_train::Nccl::join(&gpu, rank, 2, &format!("127.0.0.1:{port}"), patience).unwrap();
                let mut clsa = clsa_of(compute(1), &gpu, Arc::new(nccl));
                let part = |images: &Tensor| images.narrow(0, 4 * rank, 4).unwrap();
                let step = |i| {
                    let Views { key, weak, strong, bytes } = views(&gpu, f64::from(i));
                    let parts = |images: Vec<Tensor>| images.iter().map(part).collect();
                    let views = Views { key: part(&key), weak: parts(weak), strong: parts(strong), bytes };
                    clsa.step(&views, 0.05).unwrap().loss
                };
                let losses: Vec<f64> = (0..4).map(step).collect();
                (losses, state(&clsa))
            })
        })
        .collect();
    let ranks: Vec<_> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
    assert_eq!(ranks[0].0, ranks[1].0);
    assert!(ranks[0].1 == ranks[1].1, "the ranks differ by {:e}", difference(&ranks[0].1, &ranks[1].1));
    for (shared, alone) in ranks[0].0.iter().zip(&losses) {
        assert!((shared - alone).abs() < 1e-4 * alone.abs(), "{shared} and {alone}");
    }
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
    let run = |device: &Device| {
        let model = ModelConfig { arch: Arch::Resnet10, width: 0.125, dim: 8, ..ModelConfig::default() };
        let pair = clsa_model::MomentumPair::new(&model, Compute::default(), 0.9, 1, device).unwrap();
        let mut gradients = Gradients::new(pair.query.parameters().len());
        let mut optimizer =
            Optimizer::new(pair.query.parameters(), &OptimConfig { weight_decay: 1e-2, ..OptimConfig::default() })
                .unwrap();
        for step in 0..3 {
            for parameter in pair.query.parameters() {
                let values: Vec<f32> =
                    (0..parameter.var.elem_count()).map(|i| (i as f32 + step as f32).sin()).collect();
                let gradient = Tensor::from_vec(values, parameter.var.dims(), &Device::Cpu).unwrap();
                gradients.set(parameter.index, gradient.to_device(device).unwrap());
            }
            pair.update_key().unwrap();
            optimizer.step(pair.query.parameters(), &gradients, 0.1, 0).unwrap();
        }
        let of =
            |encoder: &Encoder| encoder.parameters().iter().flat_map(|p| f64s(p.var.as_tensor())).collect::<Vec<_>>();
        (of(&pair.query), of(&pair.key))
    };
    let (expected, got) = (run(&Device::Cpu), run(&gpu));
    assert!(difference(&got.0, &expected.0) < 1e-6 && difference(&got.1, &expected.1) < 1e-6);
}

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

#[test]
fn bytes_become_the_numbers_of_their_tables_while_others_are_copied() {
    let Some(gpu) = gpu() else { return };
    let feeder = clsa_cuda::Feeder::new(&gpu).unwrap();
    let tables = clsa_augment::Normalize::IMAGENET.tables();
    let on_gpu = Tensor::from_vec(tables.concat(), (3, 256), &gpu).unwrap();
    let mut batches = Vec::new();
    for (i, (images, side)) in [(3, 5), (16, 16), (64, 96), (256, 224), (1, 1), (32, 33)].into_iter().enumerate() {
        let mut bytes = feeder.allocate(images * side * side * 3).unwrap();
        bytes.iter_mut().enumerate().for_each(|(k, byte)| *byte = ((k * 7919 + i * 31) >> 3) as u8);
        batches.push((bytes, images, side));
    }
    let mut ahead = None;
    for (bytes, images, side) in &batches {
        let now = ahead.replace((feeder.upload(bytes, *images, *side).unwrap(), bytes, *images, *side));
        let Some((upload, bytes, images, side)) = now else { continue };
        let tensor = upload.to_tensor(&on_gpu).unwrap();
        assert_eq!(tensor.dims(), [images, 3, side, side]);
        let got = tensor.permute((0, 2, 3, 1)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let wrong =
            got.iter().zip(bytes.iter()).enumerate().position(|(k, (got, &byte))| *got != tables[k % 3][byte as usize]);
        assert_eq!(wrong, None, "{images} images of {side} pixels");
        let as_bytes = ImageBytes { pixels: upload.to_bytes().unwrap(), tables: on_gpu.clone() };
        let pixels = as_bytes.pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert!(pixels == bytes[..pixels.len()], "{images} images of {side} pixels as bytes");
        let again = as_bytes.normalized(&as_bytes.pixels).unwrap();
        assert!(f64s(&again) == f64s(&tensor), "{images} images of {side} pixels, made of bytes");
    }
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
fn cudnn_describes_the_gpu() {
    let Some(gpu) = gpu() else { return };
    let description = clsa_cuda::Cuda::of(&gpu).unwrap().device_description().unwrap();
    println!("description {description}");
    assert!(serde_json::from_str::<serde_json::Value>(&description).unwrap().is_object());
}

#[test]
fn the_engine_is_chosen_by_device_type_and_width() {
    let Some(gpu) = gpu() else { return };
    let engine = |width, backend, precision| {
        let model = ModelConfig { arch: Arch::Resnet10, stem: Stem::Cifar, width, dim: 16, ..ModelConfig::default() };
        Encoder::new(&model, Compute { backend, precision, bn_splits: 1 }, 0, &gpu).map(|encoder| encoder.engine())
    };
    assert_eq!(engine(0.25, Backend::Auto, Precision::Bf16).unwrap(), EngineKind::Cuda);
    assert_eq!(engine(0.25, Backend::Portable, Precision::F32).unwrap(), EngineKind::Portable);
    assert_eq!(engine(0.1, Backend::Auto, Precision::F32).unwrap(), EngineKind::Portable);
    let error = engine(0.1, Backend::Cuda, Precision::F32).unwrap_err().to_string();
    assert!(error.contains("multiples of 8"), "{error}");
    assert!(
        engine(0.25, Backend::Cuda, Precision::F64).is_err() && engine(0.25, Backend::Cpu, Precision::F32).is_err()
    );
}
