//! `clsa pretrain`.

use crate::device::{self, DeviceName};
use crate::failure::{Failure, request};
use crate::program;
use crate::progress::Progress;
use anyhow::Context;
use clsa_data::{DataError, Dataset, Limits, Source, SourceKind, Splits};
use clsa_run::{CheckpointError, Config, ConfigError, KnnRecord, Preset, Resumption, RunError, RunFolder, StepRecord};
use clsa_train::{Datasets, End, Observer, SingleProcess, Trainer, TrainerConfig, check_data, has_classes};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pretrain an encoder with CLSA.
///
/// Without arguments: the preset `demo`, which generates its own images and takes about three minutes on two cores.
#[derive(clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  clsa pretrain
  clsa pretrain --preset cifar10 --data imagefolder:/data/cifar10 --epochs 100 --set optim.lr=0.06
  clsa pretrain --preset imagenet-multi-200 --data imagefolder:/data/imagenet --device cuda:0
  clsa pretrain --resume runs/demo-20260101-120000")]
pub struct Args {
    #[arg(long, default_value = "demo", conflicts_with = "resume")]
    #[arg(help = format!("A preset ({}) or a .toml file", Preset::names()))]
    preset: String,
    #[arg(long, value_name = "SOURCE", help = format!("Where the images are: {}", SourceKind::forms()))]
    data: Option<String>,
    /// Changes a configuration key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "resume")]
    overrides: Vec<String>,
    /// Passes over the data
    #[arg(long, conflicts_with = "resume")]
    epochs: Option<u64>,
    /// Images per step
    #[arg(long, conflicts_with = "resume")]
    batch_size: Option<usize>,
    /// Seed of weights, order and views
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// The run's folder [default: runs/PRESET-TIME]
    #[arg(long, conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continues a run, from its newest checkpoint or from the one named
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    resume: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let (mut config, resumed) = match &args.resume {
        None => (load(&args.preset, &overrides(&args))?, None),
        Some(path) => {
            let resumed = RunFolder::resume(path).map_err(not_resumed)?;
            for error in &resumed.skipped {
                eprintln!("warning: {error}");
            }
            let origin = resumed.checkpoint.path.display().to_string();
            (Config::parse(&origin, &resumed.checkpoint.config, &[])?, Some(resumed))
        }
    };
    if let Some(source) = args.data {
        config.data.source = source;
    }
    config.validate()?;
    if config.data.source.is_empty() {
        let preset = &args.preset;
        return Err(request(format!("--data: the preset {preset} needs images; name them, such as imagefolder:PATH")));
    }
    let data = open(&config)?;
    check_data(&config, data.train.as_ref())?;
    let threads = device::set_threads(args.threads)?;
    let device = device::open(args.device)?;

    let stop = stop_on_signals()?;
    let (run, checkpoint) = match resumed {
        Some(Resumption { run, checkpoint, .. }) => {
            eprintln!("resuming {} at step {}", checkpoint.path.display(), checkpoint.position.step);
            (run, Some(checkpoint))
        }
        None => {
            let path = args.out.unwrap_or_else(|| RunFolder::default_path(&args.preset));
            let occupied = |error| {
                let named = path.display();
                request(format!("--out {error}; `{} pretrain --resume {named}` continues it", program()))
            };
            (RunFolder::vacant(&path).map_err(occupied)?, None)
        }
    };
    let path = run.path().display().to_string();
    let (samples, model, train) = (data.train.len(), &config.model, &config.train);
    eprintln!(
        "run {path}: {} x {} ({} weak, {} strong views) on {samples} images of {}, {} epochs of batches of {}",
        model.arch.name(),
        model.width,
        config.views.weak.len(),
        config.views.strong.len(),
        config.data.source,
        train.epochs,
        train.batch_size,
    );
    let communicator = Box::new(SingleProcess);
    let trainer = TrainerConfig { config, run, data, device, threads, communicator };
    let trainer = Trainer::new(trainer, checkpoint.as_ref())?;
    drop(checkpoint);
    let mut shown = ShownRun(Progress::new("step", "steps"));
    let end = trainer.run(&stop, &mut shown)?;
    drop(shown);
    match end {
        End::Finished { before, after } => {
            match (before, after) {
                (Some(before), Some(after)) => {
                    eprintln!("k-NN accuracy: {before:.1} % before, {after:.1} % after training")
                }
                (None, Some(after)) => eprintln!("k-NN accuracy: {after:.1} % after training"),
                (_, None) => {}
            }
            eprintln!("the run is in {path}");
            eprintln!("evaluate it with: {} eval --run {path}", program());
        }
        End::Stopped(checkpoint) => {
            if let Some(checkpoint) = checkpoint {
                eprintln!("stopped; checkpoint {}", checkpoint.display());
            }
            eprintln!("continue with: {} pretrain --resume {path}", program());
        }
    }
    Ok(())
}

/// Shows a run on the error stream.
struct ShownRun(Progress);

impl Observer for ShownRun {
    fn step(&mut self, at: &StepRecord, steps: u64) {
        let StepRecord { loss, contrastive, ddm, lr, images_per_s, .. } = at;
        let message = format!(
            "loss {loss:.3} (contrastive {contrastive:.3}, ddm {ddm:.3}) lr {lr:.4} {images_per_s:.0} images/s"
        );
        self.0.at_with(at.step, steps, &message);
    }

    fn knn(&mut self, record: &KnnRecord) {
        self.0.line(&format!("epoch {}: k-NN accuracy {:.1} %", record.epoch, record.top1));
    }

    fn warning(&mut self, text: &str) {
        self.0.line(&format!("warning: {text}"));
    }
}

/// Names the options of this command in what is wrong with `--resume`.
fn not_resumed(error: RunError) -> Failure {
    match error {
        RunError::Checkpoint(CheckpointError::None { .. }) => request(format!("--resume {error}, which --out names")),
        error if error.is_request() => request(format!("--resume {error}")),
        error => error.into(),
    }
}

/// Reads a configuration; its errors name the options of this command.
pub fn load(preset: &str, overrides: &[String]) -> Result<Config, Failure> {
    Config::load(preset, overrides).map_err(|error| match error {
        ConfigError::Override { .. } => request(format!("--set {error}")),
        ConfigError::UnknownPreset(_) => request(format!("--preset {error}")),
        error => error.into(),
    })
}

/// `--epochs` and the like are overrides with a name of their own; they come after `--set`.
fn overrides(args: &Args) -> Vec<String> {
    let named = [
        args.epochs.map(|v| format!("train.epochs={v}")),
        args.batch_size.map(|v| format!("train.batch_size={v}")),
        args.seed.map(|v| format!("train.seed={v}")),
    ];
    args.overrides.iter().cloned().chain(named.into_iter().flatten()).collect()
}

fn open(config: &Config) -> Result<Datasets, DataError> {
    let source: Source = config.data.source.parse()?;
    let Splits { train, test } = source.open_splits(Limits::default())?;
    // A source without a test split or labels trains all the same, without the k-NN monitor.
    let labeled = |data: &Arc<dyn Dataset>| has_classes(data.as_ref());
    let test = test.ok().filter(labeled).filter(|_| labeled(&train));
    if test.is_none() && config.knn.every > 0 {
        eprintln!("note: {} has no labeled test images, so there is no k-NN accuracy", config.data.source);
    }
    Ok(Datasets { train, test })
}

/// The flag that Ctrl-C and SIGTERM set. A second signal ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping after this step; once more stops at once, without a checkpoint");
    })
    .context("the signal handler could not be set")?;
    Ok(stop)
}
