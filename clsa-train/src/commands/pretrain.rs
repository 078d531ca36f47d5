//! `cargo xtask pretrain`.

use super::device;
use crate::{Failure, request};
use anyhow::{Context, anyhow};
use clsa_data::{DataError, Dataset, Limits, Source, Splits};
use clsa_train::config::Config;
use clsa_train::monitor::has_classes;
use clsa_train::run_folder::{RunFolder, default_path};
use clsa_train::trainer::{Datasets, End, Trainer, check_data};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pretrain an encoder with CLSA.
///
/// Without arguments: the preset `demo`, which generates its own images and takes about three minutes on two cores.
#[derive(clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  cargo xtask pretrain
  cargo xtask pretrain --preset cifar10 --data imagefolder:/data/cifar10 --epochs 100 --set optim.lr=0.06
  cargo xtask pretrain --preset imagenet-multi-200 --data imagefolder:/data/imagenet --device cuda:0
  cargo xtask pretrain --resume runs/demo-20260101-120000")]
pub struct Args {
    /// A preset (demo, cifar10, imagenet-single-200, imagenet-single-800, imagenet-multi-200, imagenet-multi-800,
    /// imagenet-mocov2-200) or a .toml file
    #[arg(long, default_value = "demo", conflicts_with = "resume")]
    preset: String,
    /// Where the images are, as KIND:PATH, such as imagefolder:/data/imagenet or cifar-bin:/data/cifar-10.tar.gz
    #[arg(long, value_name = "SOURCE")]
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
    /// cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let (mut config, resumed) = match &args.resume {
        None => (Config::load(&args.preset, &overrides(&args)).map_err(request)?, None),
        Some(path) => {
            let (run, checkpoint, passed) = RunFolder::resume(path).map_err(Failure::Request)?;
            for error in passed {
                eprintln!("warning: {error}");
            }
            let config = Config::parse(&checkpoint.path.display().to_string(), &checkpoint.config, &[])?;
            (config, Some((run, checkpoint)))
        }
    };
    if let Some(source) = args.data {
        config.data.source = source;
    }
    config.validate().map_err(request)?;
    if config.data.source.is_empty() {
        let preset = &args.preset;
        return Err(request(anyhow!("--data: the preset {preset} needs images; name them, such as imagefolder:PATH")));
    }
    let data = open(&config).map_err(request)?;
    check_data(&config, data.train.as_ref()).map_err(Failure::Request)?;
    let threads = device::set_threads(args.threads)?;
    let device = device::open(&args.device)?;

    let stop = stop_on_signals()?;
    let (run, checkpoint) = match resumed {
        Some((run, checkpoint)) => {
            eprintln!("resuming {} at step {}", checkpoint.path.display(), checkpoint.position.step);
            (run, Some(checkpoint))
        }
        None => {
            let path = args.out.unwrap_or_else(|| default_path(&args.preset));
            (RunFolder::vacant(&path).map_err(Failure::Request)?, None)
        }
    };
    let path = run.path.display().to_string();
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
    let trainer = Trainer::new(config, run, data, device, threads, checkpoint.as_ref())?;
    drop(checkpoint);
    match trainer.run(&stop)? {
        End::Stopped(checkpoint) => {
            eprintln!("stopped; checkpoint {}", checkpoint.display());
            eprintln!("continue with: cargo xtask pretrain --resume {path}");
        }
        End::Finished { before, after } => {
            match (before, after) {
                (Some(before), Some(after)) => {
                    eprintln!("k-NN accuracy: {before:.1} % before, {after:.1} % after training")
                }
                (None, Some(after)) => eprintln!("k-NN accuracy: {after:.1} % after training"),
                _ => {}
            }
            eprintln!("the run is in {path}");
            eprintln!("evaluate it with: cargo xtask eval --run {path}");
        }
    }
    Ok(())
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
    let labelled = |data: &Arc<dyn Dataset>| has_classes(data.as_ref());
    let test = test.ok().filter(labelled).filter(|_| labelled(&train));
    if test.is_none() && config.knn.every > 0 {
        eprintln!("note: {} has no labelled test images, so there is no k-NN accuracy", config.data.source);
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
