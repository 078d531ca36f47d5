//! `clsa pretrain`.

mod configuration;
mod shown_run;

use crate::device::{self, DeviceName};
use crate::export;
use crate::failure::{Failure, request};
use crate::program;
use crate::progress::Progress;
use crate::ranks::{Ranks, start_on_gpus};
use crate::signals;
use crate::streams::say;
use candle_core::Device;
use clsa_data::{DataError, Dataset, Limits, Source, SourceKind, Splits};
use clsa_run::{
    Checkpoint, CheckpointError, Config, DataIdentity, LockedRun, Metrics, Preset, Resumption, RunError, RunFolder,
    Verdict,
};
use clsa_train::{Datasets, End, InitialWeights, TrainError, Trainer, TrainerConfig, check_data, has_classes};
pub use configuration::load;
use configuration::{config_to_begin_with, config_to_go_on_with, folder_name, initial_weights, overrides, preset};
use shown_run::ShownRun;
use std::path::PathBuf;
use std::sync::Arc;

/// Pretrain an encoder with CLSA.
///
/// Without arguments: the preset `demo`, which generates its own images and takes three to seven minutes on two cores.
#[derive(clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  clsa pretrain
  clsa pretrain --preset cifar10 --data imagefolder:/data/cifar10 --epochs 100 --set optim.lr=0.06
  clsa pretrain --preset imagenet-multi-200 --data imagefolder:/data/imagenet --device cuda:0
  clsa pretrain --preset imagenet-single-200 --data imagefolder:/data/imagenet --init resnet50.pth
  clsa pretrain --resume runs/demo-20260101-120000
  mpirun -n 4 clsa pretrain --preset photos --data flat:photos --batch-size 64
  clsa pretrain --preset imagenet-single-200 --data imagefolder:/data/imagenet --device cuda --ranks 8")]
pub struct Args {
    #[arg(long, conflicts_with = "resume")]
    #[arg(help = format!("A preset ({}) or a .toml file [default: demo, or the settings of the run that --init names]", Preset::names()))]
    preset: Option<String>,
    #[arg(long, value_name = "SOURCE", help = format!("Where the images are: {}", SourceKind::forms()))]
    data: Option<String>,
    /// Changes a configuration key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Passes over the data
    #[arg(long)]
    epochs: Option<u64>,
    /// Stops after this epoch of the schedule; --resume with a later one goes on, with 0 to the end
    #[arg(long, value_name = "EPOCH")]
    until_epoch: Option<u64>,
    /// Images per step; where several ranks share the work, of each of them
    #[arg(long)]
    batch_size: Option<usize>,
    /// Seed of weights, order and views, below 2^63
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Begins with weights: a file of PyTorch, safetensors, a checkpoint, a folder of timm or transformers, or a run, whose settings are
    /// then the default; another architecture is refused, and what does not fit is new
    #[arg(long, value_name = "WEIGHTS", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// The run's folder [default: runs/PRESET-TIME]
    #[arg(long, conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continues a run from its newest checkpoint, with the settings of its config.toml, or from the checkpoint named, with those of
    /// that; --set, --epochs and --data change them
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    resume: Option<PathBuf>,
    /// With --resume: go on although the images are others than those that the run was trained on
    #[arg(long, requires = "resume")]
    other_images: bool,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
    /// A process for each of so many GPUs of this machine, which share every step; with --device cuda
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    ranks: Option<u8>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    if let Some(count) = args.ranks {
        return match args.device {
            DeviceName::Cpu => {
                Err(request(format!("--ranks is for GPUs; on CPUs use `mpirun -n {count} {} pretrain`", program())))
            }
            DeviceName::Cuda(0) => start_on_gpus(count.into()),
            DeviceName::Cuda(_) => Err(request("--ranks: each rank has a GPU of its own; use --device cuda")),
        };
    }
    let ranks = Ranks::join(args.device)?;
    let done = pretrain(&args, &ranks);
    ranks.end(done)
}

fn pretrain(args: &Args, ranks: &Ranks) -> Result<(), Failure> {
    let (mut run, goes_on) = ranks.agree(resumed(args, ranks))?;
    let goes_on = ranks.agree(on_all_ranks(goes_on, ranks))?;
    let prepared = prepared(args, ranks, goes_on.as_ref());
    let Prepared { config, initial, data, images, threads, device } = ranks.agree(prepared)?;
    let stop = signals::stop_flag()?;
    let ready = match (&run, &goes_on) {
        (Some(run), Some(goes_on)) => check_what_goes_on(args, run.folder(), goes_on, &config, &images),
        (None, None) if ranks.is_first() => begun(args).map(|begun| run = Some(begun)),
        _ => Ok(()),
    };
    ranks.agree(ready)?;
    let folder = run.as_ref().map(|run| run.folder().clone());
    if let Some(run) = &run {
        say_what_is_trained(run, &config, data.train.len());
    }
    let (last, epochs) = (config.train.last_epoch(), config.train.epochs);
    let trainer = TrainerConfig { config, run, data, device, threads, communicator: ranks.communicator() };
    let mut trainer = Trainer::new(trainer, goes_on.as_ref().map(|goes_on| &goes_on.checkpoint))?;
    ranks.agree(folder.as_ref().map_or(Ok(()), |folder| Ok(images.write(folder)?)))?;
    if let Some((path, initial)) = initial {
        say!("begins with {}: {}", path.display(), trainer.begin_with(&initial)?);
    }
    drop(goes_on);
    let mut shown = ShownRun { progress: Progress::new("step", "steps"), rank: ranks.other() };
    let end = trainer.run(&stop, &mut shown);
    drop(shown);
    let Some(folder) = folder else { return end.map(drop).map_err(Failure::from) };
    let end = end.map_err(|error| advised(error, &folder))?;
    if let Some(verdict) = Verdict::of(&Metrics::read(&folder.metrics_file())?.label_free) {
        say!("{verdict}");
    }
    let path = folder.path().display();
    match end {
        End::Finished { before, after } => {
            match (before, after) {
                (Some(before), Some(after)) => {
                    say!("k-NN accuracy: {before:.1} % before, {after:.1} % after training")
                }
                (None, Some(after)) => say!("k-NN accuracy: {after:.1} % after training"),
                (_, None) => {}
            }
            say!("the run is in {path}");
            match export::of_run(&folder) {
                Ok(exported) => say!("its encoder, for use elsewhere, is in {}", exported.display()),
                Err(failure) => say!("warning: {}: {}", folder.export().display(), failure.sentence()),
            }
            say!("evaluate it with: {} eval --run {path}", program());
        }
        End::Paused(checkpoint) => {
            if let Some(checkpoint) = checkpoint {
                say!("epoch {last} of {epochs} is done; checkpoint {}", checkpoint.display());
            }
            say!("continue with: {} pretrain --resume {path} --until-epoch 0", program());
        }
        End::Stopped(checkpoint) => {
            if let Some(checkpoint) = checkpoint {
                say!("stopped; checkpoint {}", checkpoint.display());
            }
            say!("continue with: {} pretrain --resume {path}", program());
        }
    }
    Ok(())
}

/// What a run goes on from.
struct GoesOn {
    checkpoint: Checkpoint,
    /// The configuration to go on with, as TOML.
    config: String,
    /// The file that it is from.
    config_file: PathBuf,
}

/// What every rank prepares before the first step.
struct Prepared {
    config: Config,
    initial: Option<(PathBuf, InitialWeights)>,
    data: Datasets,
    images: DataIdentity,
    threads: usize,
    device: Device,
}

/// The run that `--resume` names, which the first rank locks.
fn resumed(args: &Args, ranks: &Ranks) -> Result<(Option<LockedRun>, Option<GoesOn>), Failure> {
    let Some(path) = args.resume.as_deref().filter(|_| ranks.is_first()) else { return Ok((None, None)) };
    let Resumption { run, checkpoint, config, config_file, skipped, .. } =
        LockedRun::resume(path).map_err(not_resumed)?;
    for error in &skipped {
        say!("warning: {error}");
    }
    Ok((Some(run), Some(GoesOn { checkpoint, config, config_file })))
}

/// What the first rank goes on from, on all of them.
fn on_all_ranks(goes_on: Option<GoesOn>, ranks: &Ranks) -> Result<Option<GoesOn>, Failure> {
    if ranks.count() == 1 {
        return Ok(goes_on);
    }
    let own =
        goes_on.as_ref().map(|GoesOn { checkpoint, config, config_file }| (&checkpoint.path, config, config_file));
    let told: Option<(PathBuf, String, PathBuf)> =
        serde_json::from_slice(&ranks.told_by_first(&serde_json::to_vec(&own)?)?)?;
    match told {
        Some((path, config, config_file)) if goes_on.is_none() => {
            Ok(Some(GoesOn { checkpoint: Checkpoint::load(&path)?, config, config_file }))
        }
        _ => Ok(goes_on),
    }
}

fn prepared(args: &Args, ranks: &Ranks, goes_on: Option<&GoesOn>) -> Result<Prepared, Failure> {
    let overrides = overrides(args);
    let mut config = match goes_on {
        None => config_to_begin_with(args, &overrides, ranks.count())?,
        Some(goes_on) => config_to_go_on_with(goes_on, &overrides, ranks.count())?,
    };
    config.train.ranks = ranks.count();
    if let Some(source) = &args.data {
        config.data.source.clone_from(source);
    }
    config.validate()?;
    let initial = if goes_on.is_none() { initial_weights(&mut config)? } else { None };
    if config.data.source.is_empty() {
        let preset = preset(args);
        return Err(request(format!("--data: the preset {preset} needs images; name them, such as imagefolder:PATH")));
    }
    let data = open(&config)?;
    check_data(&config, data.train.as_ref())?;
    let threads = device::set_threads(if args.threads == 0 { ranks.default_threads() } else { args.threads })?;
    let device = ranks.device().cloned().map_or_else(|| device::open(args.device), Ok)?;
    let images = DataIdentity::of(data.train.as_ref());
    Ok(Prepared { config, initial, data, images, threads, device })
}

/// Checks that a run can go on as it was asked to, and says from where.
fn check_what_goes_on(
    args: &Args,
    run: &RunFolder,
    goes_on: &GoesOn,
    config: &Config,
    images: &DataIdentity,
) -> Result<(), Failure> {
    if !args.other_images {
        check_images(run, images)?;
    }
    let Checkpoint { path, position, .. } = &goes_on.checkpoint;
    let (at, last, epochs) = (position.epoch, config.train.last_epoch(), config.train.epochs);
    if at >= last && last < epochs {
        return Err(request(format!(
            "--resume {}: the run is at epoch {at} and stops after epoch {last}; add --until-epoch with a later one, or with 0 for all \
             {epochs}",
            run.path().display()
        )));
    }
    say!("resuming {} at step {}", path.display(), position.step);
    say_what_is_replaced(run, position.step)
}

/// The folder of a new run, which is the first rank's.
fn begun(args: &Args) -> Result<LockedRun, Failure> {
    match &args.out {
        Some(path) => LockedRun::begin(path).map_err(not_begun),
        None => Ok(LockedRun::begin_in_runs(&folder_name(args))?),
    }
}

fn say_what_is_trained(run: &LockedRun, config: &Config, images: usize) {
    let path = run.folder().path().display();
    if !run.is_exclusive() {
        say!("note: the file system of {path} has no locks, so nothing keeps another process from writing this run");
    }
    let (model, train, optim) = (&config.model, &config.train, &config.optim);
    let on_ranks = if train.ranks == 1 { String::new() } else { format!(" on each of {} ranks", train.ranks) };
    say!(
        "run {path}: {} x {} ({} weak, {} strong views) on {images} images of {}, {} epochs of batches of {}{on_ranks}",
        model.arch.name(),
        model.width,
        config.views.weak.len(),
        config.views.strong.len(),
        config.data.source,
        train.epochs,
        train.batch_size,
    );
    let (lr, batch) = (optim.lr, train.global_batch());
    if optim.scale_lr {
        say!("note: optim.scale_lr: the learning rate is {lr} x {batch} / 256 = {}", lr * optim.lr_factor(batch));
    } else if train.ranks > 1 {
        say!(
            "note: a step is of {batch} images, {} of each rank; the learning rate stays {lr}, and is {lr} x {} by the linear rule, which \
             --set optim.lr={} follows",
            train.batch_size,
            train.ranks,
            lr * train.ranks as f64
        );
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

/// Names the options of this command in what is wrong with `--out`.
fn not_begun(error: RunError) -> Failure {
    match &error {
        RunError::Occupied { path } => {
            request(format!("--out {error}; `{} pretrain --resume {}` continues it", program(), path.display()))
        }
        RunError::InUse { .. } => request(format!("--out {error}")),
        _ => error.into(),
    }
}

/// Says how to go on after training has left the finite numbers, or a store of images has failed.
fn advised(error: TrainError, run: &RunFolder) -> Failure {
    if error.is_of_store() && run.newest_checkpoint().is_ok() {
        say!("continue with: {} pretrain --resume {}", program(), run.path().display());
        return error.into();
    }
    if !matches!(error, TrainError::Diverged { .. }) {
        return error.into();
    }
    let advice = match run.newest_checkpoint() {
        Ok(_) => format!(
            "training diverged; go on from the last checkpoint with a lower learning rate: `{} pretrain --resume {} --set \
             optim.lr=VALUE`",
            program(),
            run.path().display()
        ),
        Err(_) => "training diverged before its first checkpoint; begin again with a lower learning rate, --set optim.lr=VALUE".into(),
    };
    anyhow::Error::new(error).context(advice).into()
}

/// Refuses images that are not those of the run.
fn check_images(run: &RunFolder, images: &DataIdentity) -> Result<(), Failure> {
    let Some(before) = DataIdentity::read(run)? else { return Ok(()) };
    match before.difference(images) {
        Some(difference) => Err(request(format!(
            "--resume {}: the images are not those that this run was trained on ({difference}); name those with --data, or add \
             --other-images to go on with these",
            run.path().display()
        ))),
        None => Ok(()),
    }
}

/// Tells of later checkpoints that a run which goes back will replace.
fn say_what_is_replaced(run: &RunFolder, step: u64) -> Result<(), Failure> {
    let later = run.checkpoints_after(step)?;
    if later > 0 {
        say!("note: {later} later checkpoints of this run stay until it has written a new one, which replaces them");
    }
    Ok(())
}

fn open(config: &Config) -> Result<Datasets, DataError> {
    let source: Source = config.data.source.parse()?;
    let Splits { train, test } = source.open_splits(Limits::default())?;
    // A source without a test split or labels trains all the same, without the k-NN monitor.
    let labeled = |data: &Arc<dyn Dataset>| has_classes(data.as_ref());
    let held_out = test.ok();
    let test = held_out.clone().filter(labeled).filter(|_| labeled(&train));
    if test.is_none() && config.knn.is_on() {
        say!("note: {} has no labeled test images, so there is no k-NN accuracy", config.data.source);
    }
    Ok(Datasets { train, test, held_out })
}
