//! `eval`: evaluates the encoder of a run or of a weight file.

use crate::{Failure, request};
use anyhow::{Context, anyhow};
use candle_core::Device;
use clap::ValueEnum;
use clsa_data::{Dataset, Source, Split};
use clsa_eval::{
    Accuracy, Chance, EncoderResult, EvalTransform, Evaluation, Features, Figures, KnnConfig, LinearConfig,
    LogisticRegressionConfig, Predictions, ProtocolResult, Run, check_labels, data_hash, encoder_hash, extract, knn,
    linear, logistic_regression, raw_pixels,
};
use clsa_model::{Compute, Encoder, ModelConfig, Stem, weights};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Images of one pass through the encoder.
const BATCH: usize = 128;
/// Larger images are made this small for the baseline of raw pixels.
const RAW_SIDE: u32 = 32;

/// Evaluate a run or a weight file; without options the newest run in ./runs.
///
/// The trained encoder stands beside the untrained one and raw pixels. The figures are printed and written to eval.json
/// in the run, or to WEIGHTS.eval.json in the current folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask eval
  cargo xtask eval --run runs/demo --protocol knn --k 200
  cargo xtask eval --weights resnet50.pth --data imagefolder:/data/imagenet --protocol knn,linear --epochs 10")]
pub struct Args {
    /// The run: its folder.
    #[arg(long, value_name = "RUN", conflicts_with = "weights")]
    run: Option<PathBuf>,
    /// A weight file: PyTorch (.pth, .pth.tar), safetensors, or a checkpoint.
    #[arg(long, value_name = "FILE", requires = "data")]
    weights: Option<PathBuf>,
    /// The protocols, separated by commas.
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["knn", "linear-features"])]
    protocol: Vec<Protocol>,
    /// The images: imagefolder:PATH, cifar-bin:PATH or procedural; default: those of the run.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Short side of test images after resizing, pixels; default: the run's, else 256, or 32 for a CIFAR stem.
    #[arg(long, value_name = "PIXELS")]
    resize: Option<u32>,
    /// Side of the centre crop, pixels; default: the run's, else 224, or 32 for a CIFAR stem.
    #[arg(long, value_name = "PIXELS")]
    crop: Option<u32>,
    /// knn: neighbours; default: the run's, else 200, and never more than there are training images.
    #[arg(long)]
    k: Option<usize>,
    /// knn: temperature of the votes; default: the run's, else 0.07.
    #[arg(long)]
    temperature: Option<f64>,
    /// linear: epochs.
    #[arg(long, default_value_t = 100)]
    epochs: u64,
    /// linear: learning rate.
    #[arg(long, default_value_t = 10.0)]
    lr: f64,
    /// Seed of confidence intervals, held-out images and random crops.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that compute; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Where the figures are written.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// cpu or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// A protocol on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Weighted k-nearest neighbours.
    Knn,
    /// The paper's linear classifier: frozen backbone, random crops, SGD.
    Linear,
    /// Logistic regression on features of centre crops: fast.
    LinearFeatures,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Linear => "linear",
            Self::LinearFeatures => "linear-features",
        }
    }
}

/// What is evaluated, after all defaults.
struct Subject {
    weights: PathBuf,
    model: ModelConfig,
    /// Seed of the untrained encoder.
    seed: u64,
    data: String,
    transform: EvalTransform,
    knn: KnnConfig,
    out: PathBuf,
    /// Where the linear protocol keeps its state.
    folder: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = device(&args.device)?;
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global().context("--threads")?;
    let subject = match &args.weights {
        Some(file) => Subject::of_weights(file, &args)?,
        None => Subject::of_run(&args)?,
    };
    if subject.transform.crop == 0 || subject.transform.crop > subject.transform.resize {
        let EvalTransform { resize, crop, .. } = subject.transform;
        return Err(request(anyhow!("--crop {crop}: use 1 to {resize} pixels, the resized short side (--resize)")));
    }
    let trained = subject.trained(&device)?;
    let source: Source = subject.data.parse().map_err(|e| request(anyhow!("--data: {e}")))?;
    let train = source.open(Split::Train).map_err(request)?;
    let test = source.open(Split::Test).map_err(request)?;
    let classes = check_labels(train.as_ref(), test.as_ref())?.max(train.class_names().len());
    if let Some(k) = args.k.filter(|&k| k > train.len()) {
        return Err(request(anyhow!("--k {k}: there are only {} training images; use at most as many", train.len())));
    }
    let untrained =
        Encoder::new(&subject.model, Compute::default(), subject.seed, &device).map_err(clsa_eval::EvalError::from)?;
    let mut evaluation = Evaluation {
        weights: subject.weights.display().to_string(),
        encoder_sha256: encoder_hash(&trained)?,
        data: source.to_string(),
        data_sha256: data_hash(&[train.as_ref(), test.as_ref()])?,
        classes: train.class_names().to_vec(),
        train_samples: train.len(),
        test_samples: test.len(),
        transform: subject.transform,
        chance: Some(Chance::of(classes)),
        protocols: Vec::new(),
    };
    eprintln!(
        "{}: {} x {}; {}: {} training and {} test images of {classes} classes",
        evaluation.weights,
        subject.model.arch.name(),
        subject.model.width,
        evaluation.data,
        train.len(),
        test.len(),
    );
    let encoders = [("trained", &trained), ("untrained", &untrained)];
    let with_features = args.protocol.iter().any(|p| *p != Protocol::Linear);
    let splits = if with_features { splits(&encoders, &train, &test, &subject.transform)? } else { Vec::new() };
    for (index, &protocol) in args.protocol.iter().enumerate() {
        if args.protocol[..index].contains(&protocol) {
            continue;
        }
        let start = Instant::now();
        let accuracy =
            |predictions: &Predictions, labels: &[u32]| Accuracy::of(predictions, labels, classes, args.seed);
        let (settings, results) = match protocol {
            Protocol::Knn => {
                let mut results = Vec::new();
                for (name, train, test) in &splits {
                    let result = knn(train, test, &subject.knn)?;
                    if result.k < subject.knn.k && results.is_empty() {
                        eprintln!("note: k is {}, the number of training images, not {}", result.k, subject.knn.k);
                    }
                    let accuracy = accuracy(&result.predictions, &test.labels);
                    results.push(row(name, json!({ "k": result.k }), accuracy));
                }
                (json!(subject.knn), results)
            }
            Protocol::LinearFeatures => {
                let config = LogisticRegressionConfig { seed: args.seed, ..LogisticRegressionConfig::default() };
                let mut results = Vec::new();
                for (name, train, test) in &splits {
                    let result = logistic_regression(train, test, &config)?;
                    let details = json!({ "regularization": result.regularization, "held_out": result.held_out });
                    results.push(row(name, details, accuracy(&result.predictions, &test.labels)));
                }
                (json!(config), results)
            }
            Protocol::Linear => {
                let config =
                    LinearConfig { epochs: args.epochs, lr: args.lr, seed: args.seed, ..LinearConfig::default() };
                let mut results = Vec::new();
                for (name, encoder) in &encoders {
                    let state = subject.linear_state(encoder, &evaluation.data, &config)?;
                    let bar = bar(&format!("linear, {name}"), config.epochs);
                    let progress = |at: clsa_eval::LinearProgress| {
                        bar.set_position(if at.batch == at.batches { at.epoch + 1 } else { at.epoch });
                    };
                    let transform = &subject.transform;
                    let result =
                        linear(encoder, &train, test.as_ref(), transform, &config, state.as_deref(), &progress)?;
                    bar.finish_and_clear();
                    let details = json!({ "train_loss": result.train_loss });
                    results.push(row(name, details, accuracy(&result.predictions, &result.labels)));
                }
                (json!(config), results)
            }
        };
        let wall_time_s = start.elapsed().as_secs_f64();
        evaluation.protocols.push(ProtocolResult {
            protocol: protocol.name().to_owned(),
            settings,
            results,
            wall_time_s,
        });
    }
    print!("{}", evaluation.table());
    if subject.out.exists() {
        match Evaluation::read(&subject.out) {
            Ok(earlier) => evaluation.keep_others(earlier),
            Err(error) => eprintln!("warning: {error}; it is replaced"),
        }
    }
    evaluation.write(&subject.out)?;
    eprintln!("written: {}", subject.out.display());
    Ok(())
}

impl Subject {
    fn of_run(args: &Args) -> Result<Self, Failure> {
        let run = match &args.run {
            Some(folder) => Run::open(folder)?,
            None => Run::newest(Path::new("runs"))?,
        };
        let config = &run.config;
        let transform = EvalTransform {
            resize: args.resize.unwrap_or(config.eval.resize),
            crop: args.crop.unwrap_or(config.eval.crop),
            normalize: config.views.key.normalize,
        };
        let knn = KnnConfig {
            k: args.k.unwrap_or(config.knn.k),
            temperature: args.temperature.unwrap_or(config.knn.temperature),
        };
        Ok(Self {
            weights: run.checkpoint()?,
            model: config.model.clone(),
            seed: config.train.seed,
            data: args.data.clone().unwrap_or_else(|| config.data.source.clone()),
            transform,
            knn,
            out: args.out.clone().unwrap_or_else(|| run.folder.join("eval.json")),
            folder: Some(run.folder),
        })
    }

    fn of_weights(file: &Path, args: &Args) -> Result<Self, Failure> {
        let tensors = read(file)?;
        let named = |e: clsa_model::ModelError| request(anyhow!("{}: {e}", file.display()));
        let model = weights::infer_config(&tensors).map_err(named)?;
        let (resize, crop) = if model.stem == Stem::Cifar { (32, 32) } else { (256, 224) };
        let transform = EvalTransform::new(args.resize.unwrap_or(resize), args.crop.unwrap_or(crop));
        let defaults = KnnConfig::default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            weights: file.to_owned(),
            model,
            seed: 0,
            data: args.data.clone().ok_or_else(|| request(anyhow!("--data: name the images to evaluate on")))?,
            transform,
            knn: KnnConfig {
                k: args.k.unwrap_or(defaults.k),
                temperature: args.temperature.unwrap_or(defaults.temperature),
            },
            out: args.out.clone().unwrap_or_else(|| format!("{name}.eval.json").into()),
            folder: None,
        })
    }

    fn trained(&self, device: &Device) -> Result<Encoder, Failure> {
        let encoder = Encoder::new(&self.model, Compute::default(), self.seed, device)
            .map_err(|e| Failure::from(clsa_eval::EvalError::from(e)))?;
        let tensors = read(&self.weights)?;
        encoder.load_backbone(&tensors).map_err(|e| request(anyhow!("{}: {e}", self.weights.display())))?;
        Ok(encoder)
    }

    /// The file that keeps the classifier of this encoder, data and settings, in the run.
    fn linear_state(&self, encoder: &Encoder, data: &str, config: &LinearConfig) -> Result<Option<PathBuf>, Failure> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let folder = folder.join("linear");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let key = json!([encoder_hash(encoder)?, data, self.transform, config]).to_string();
        let key: String = Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(folder.join(format!("{key}.safetensors"))))
    }
}

fn read(file: &Path) -> Result<std::collections::HashMap<String, candle_core::Tensor>, Failure> {
    Ok(weights::read(file).map_err(request)?.tensors)
}

fn row(encoder: &str, details: Value, accuracy: Accuracy) -> EncoderResult {
    EncoderResult { encoder: encoder.to_owned(), details, figures: Figures::Accuracy(accuracy) }
}

/// Name, training and test features of both encoders and of raw pixels.
fn splits(
    encoders: &[(&'static str, &Encoder)],
    train: &Arc<dyn Dataset>,
    test: &Arc<dyn Dataset>,
    transform: &EvalTransform,
) -> Result<Vec<(&'static str, Features, Features)>, Failure> {
    let all = |data: &Arc<dyn Dataset>| (0..data.len()).collect::<Vec<_>>();
    let mut splits = Vec::new();
    for (name, encoder) in encoders {
        let bar = bar(&format!("features, {name}"), (train.len() + test.len()) as u64);
        let features = |data: &Arc<dyn Dataset>, before: usize| {
            let progress = |done: usize| bar.set_position((before + done) as u64);
            extract(encoder, data.as_ref(), &all(data), transform, BATCH, &progress)
        };
        splits.push((*name, features(train, 0)?, features(test, train.len())?));
        bar.finish_and_clear();
    }
    let pixels = |data: &Arc<dyn Dataset>| raw_pixels(data.as_ref(), &all(data), transform.crop.min(RAW_SIDE));
    splits.push(("raw pixels", pixels(train)?, pixels(test)?));
    Ok(splits)
}

fn bar(what: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<22} [{bar:30}] {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    bar.with_style(style.expect("a valid template").progress_chars("=> "))
}

/// Parses `cpu` or `cuda:N` and opens the device.
fn device(name: &str) -> Result<Device, Failure> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let wrong = || request(anyhow!("--device {name}: use cpu or cuda:N, such as cuda:0"));
    let ordinal = name.strip_prefix("cuda:").ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if !cfg!(feature = "cuda") {
        return Err(request(anyhow!(
            "--device {name}: this program was built without CUDA; `cargo xtask` builds it in where a CUDA toolkit \
             (nvcc) is found, see `cargo xtask doctor`"
        )));
    }
    Ok(Device::new_cuda(ordinal).with_context(|| format!("--device {name}"))?)
}
