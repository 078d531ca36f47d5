//! `clsa pretrain`.

mod args;
mod configuration;
mod shown_run;

use crate::device::DeviceName;
use crate::failure::{Failure, WITHOUT_CHECKPOINT, request};
use crate::progress::Progress;
use crate::ranks::{Launched, Ranks, start_on_gpus};
use crate::signals::StopFlag;
use crate::streams::say;
use crate::{export, output, program};
pub use args::Args;
use candle_core::Device;
use clsa_data::{DataError, Dataset, Limits, Source, Splits};
use clsa_eval::protocols::suitable_instead;
use clsa_run::{
    Checkpoint, CheckpointError, Config, DataIdentity, LockedRun, Metrics, Resumption, RunError, RunFolder,
    TrainConfig, Verdict,
};
use clsa_train::{Datasets, End, InitialWeights, TrainError, Trainer, TrainerConfig, check_data, has_classes};
use configuration::{GoesOn, config_to_begin_with, config_to_go_on_with, folder_name, overrides, preset};
pub use configuration::{initial_weights, load};
use shown_run::ShownRun;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    if let Some(count) = args.ranks {
        if let Some(launched) = Launched::read(true)? {
            let started = launched.ranks;
            return Err(request(format!(
                "--ranks: a launcher has started {started} processes already; leave the option out"
            )));
        }
        return match args.device {
            DeviceName::Cpu => Err(request(format!(
                "--ranks is for GPUs: add --device cuda; on CPUs use `mpirun -n {count} --bind-to none {} pretrain`",
                program()
            ))),
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
    let prepared = prepared(args, ranks, run.as_ref().map(LockedRun::folder), goes_on.as_ref());
    let Prepared { config, lr_is_for, initial, data, threads, device } = ranks.agree(prepared)?;
    let stop = StopFlag::new()?;
    let ready = match (&run, &goes_on) {
        (Some(run), Some(goes_on)) => check_what_goes_on(run.folder(), goes_on, &config, &data),
        (None, None) if ranks.is_first() => begun(args, &config).map(|begun| run = Some(begun)),
        _ => Ok(()),
    };
    ranks.agree(ready)?;
    let folder = run.as_ref().map(|run| run.folder().clone());
    if let Some(run) = &run {
        say_what_is_trained(run, &config, lr_is_for, data.train.len());
    }
    let (last, epochs) = (config.train.last_epoch(), config.train.epochs);
    let instead = suitable_instead(data.train.as_ref(), data.held_out.as_deref());
    let protocol = instead.map_or_else(String::new, |protocol| format!(" --protocol {}", protocol.name()));
    let trainer = TrainerConfig { config, pair: None, run, data, device, threads, communicator: ranks.communicator() };
    let mut trainer = Trainer::new(trainer, goes_on.as_ref().map(|goes_on| &goes_on.checkpoint))?;
    if let Some(initial) = initial {
        say!("begins with {}: {}", initial.path().display(), trainer.begin_with(&initial)?);
    }
    // The newest checkpoint, where the run goes back from it.
    let later = match (&folder, &goes_on) {
        (Some(run), Some(GoesOn { checkpoint, .. })) => {
            newest_checkpoint(run).filter(|(path, _)| Checkpoint::step_of(path) > Some(checkpoint.position.step))
        }
        _ => None,
    };
    drop(goes_on);
    let mut shown = ShownRun { progress: Progress::new("step", "steps"), rank: ranks.other() };
    let end = trainer.run(&stop, &mut shown);
    drop(shown);
    let Some(folder) = folder else { return end.map(drop).map_err(Failure::from) };
    let end = end.map_err(|error| advised(args, error, &folder, later))?;
    if let Some(verdict) = Verdict::of(&Metrics::read(&folder.metrics_file())?.label_free) {
        say!("{verdict}");
    }
    let (path, run) = (folder.path().display(), folder.typed());
    let say_how_to_go_on = |more: &str| {
        if !args.is_of_another_command {
            say!("continue with: {} pretrain --resume {run}{more}", program());
        }
    };
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
            say!("evaluate it with: {} eval --run {run}{protocol}", program());
        }
        End::Paused(checkpoint) => {
            if let Some(checkpoint) = checkpoint {
                say!("epoch {last} of {epochs} is done; checkpoint {}", checkpoint.display());
            }
            say_how_to_go_on(" --until-epoch 0");
        }
        End::Stopped(checkpoint) => {
            if let Some(checkpoint) = checkpoint {
                say!("stopped; checkpoint {}", checkpoint.display());
            }
            say_how_to_go_on("");
        }
    }
    Ok(())
}

/// What every rank prepares before the first step. The first knows the run that it goes on with.
struct Prepared {
    config: Config,
    /// Images of a step that the learning rate is meant for, where a run begins whose rate nobody has asked for.
    lr_is_for: Option<usize>,
    initial: Option<InitialWeights>,
    data: Datasets,
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
    let told: Option<(PathBuf, String, PathBuf)> =
        serde_json::from_slice(&ranks.told_by_first(to_tell(goes_on.as_ref()))?)?;
    match told {
        Some((path, config, config_file)) if goes_on.is_none() => {
            Ok(Some(GoesOn { checkpoint: Checkpoint::load(&path)?, config, config_file }))
        }
        _ => Ok(goes_on),
    }
}

/// What a run goes on from, as the first rank tells it, whose paths have to be text.
fn to_tell(goes_on: Option<&GoesOn>) -> Result<Vec<u8>, Failure> {
    let Some(GoesOn { checkpoint, config, config_file }) = goes_on else { return Ok(b"null".to_vec()) };
    serde_json::to_vec(&(&checkpoint.path, config, config_file)).map_err(|_| {
        let path = checkpoint.path.display();
        request(format!(
            "--resume {path}: its path is not UTF-8, in which ranks are told it; give the run's folder another name"
        ))
    })
}

fn prepared(
    args: &Args,
    ranks: &Ranks,
    run: Option<&RunFolder>,
    goes_on: Option<&GoesOn>,
) -> Result<Prepared, Failure> {
    let overrides = overrides(args);
    let (mut config, lr_is_for) = match goes_on {
        None => config_to_begin_with(args, &overrides, ranks.count())?,
        Some(goes_on) => (config_to_go_on_with(goes_on, &overrides, ranks.count())?, None),
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
    if let Some(run) = run.filter(|_| !args.other_images) {
        check_images(args, run, &data)?;
    }
    check_data(&config, data.train.as_ref())?;
    let threads = ranks.set_threads(args.threads)?;
    let device = ranks.open(args.device)?;
    Ok(Prepared { config, lr_is_for, initial, data, threads, device })
}

/// Checks that a run can go on as it was asked to, and says from where.
fn check_what_goes_on(run: &RunFolder, goes_on: &GoesOn, config: &Config, data: &Datasets) -> Result<(), Failure> {
    let Checkpoint { path, position, .. } = &goes_on.checkpoint;
    let (at, last, epochs) = (position.epoch, config.train.last_epoch(), config.train.epochs);
    if at > epochs || at == epochs && changes_settings(goes_on, config)? {
        return Err(request(format!(
            "--resume {}: the run has done {at} epochs and {epochs} are asked for, so other settings would change nothing; add \
             --epochs with more, or begin another run",
            run.path().display()
        )));
    }
    let is_done = at > last || at == last && !lacks_evaluation(run, config, data, at)?;
    if is_done && last < epochs {
        return Err(request(format!(
            "--resume {}: the run is at epoch {at} and stops after epoch {last}; add --until-epoch with a later one, or with 0 for all \
             {epochs}",
            run.path().display()
        )));
    }
    say!("resuming {} at step {}", path.display(), position.step);
    say_what_is_replaced(run, position.step)
}

/// Whether the evaluation after an epoch is still to be made: the run was killed before it was.
fn lacks_evaluation(run: &RunFolder, config: &Config, data: &Datasets, epoch: u64) -> Result<bool, Failure> {
    let metrics = Metrics::read(&run.metrics_file())?;
    // A run whose images give no accuracy has none of its beginning either.
    let is_measured = data.test.is_some() && !metrics.knn.is_empty();
    let is_made = match is_measured {
        true => metrics.knn_after(epoch).is_some(),
        false => metrics.label_free.iter().any(|record| record.epoch == epoch),
    };
    Ok(config.knn.is_on() && !is_made)
}

/// Whether a run is to go on with other settings than it had, but for what says where it runs and how a step is spread there.
fn changes_settings(goes_on: &GoesOn, config: &Config) -> Result<bool, Failure> {
    let GoesOn { checkpoint, .. } = goes_on;
    let before = Config::parse(&checkpoint.path.display().to_string(), &checkpoint.config, &[])?;
    let mut now = config.clone();
    now.data.source.clone_from(&before.data.source);
    now.compute.bn_splits = before.compute.bn_splits;
    let TrainConfig { ranks, batch_size, accumulate, stop_epoch, .. } = before.train;
    now.train = TrainConfig { ranks, batch_size, accumulate, stop_epoch, ..now.train };
    Ok(now != before)
}

/// The folder of a new run, which is the first rank's.
fn begun(args: &Args, config: &Config) -> Result<LockedRun, Failure> {
    check_run_is_beside_images(args.out.as_deref().unwrap_or(Path::new("runs")), &config.data.source)?;
    match &args.out {
        Some(path) => LockedRun::begin(path).map_err(not_begun),
        None => Ok(LockedRun::begin_in_runs(&folder_name(args))?),
    }
}

/// Refuses a folder among the images: the pictures that a run draws would be of them.
fn check_run_is_beside_images(out: &Path, source: &str) -> Result<(), Failure> {
    let source: Source = source.parse()?;
    match output::images_around(out, &source) {
        Some(images) => Err(request(format!(
            "--out {}: it is among the images in {}, and the pictures that a run draws would become some of them; name a folder elsewhere",
            out.display(),
            images.display()
        ))),
        None => Ok(()),
    }
}

fn say_what_is_trained(run: &LockedRun, config: &Config, lr_is_for: Option<usize>, images: usize) {
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
        let scaled = short(lr * optim.lr_factor(batch));
        say!("note: optim.scale_lr: the learning rate is {lr} x {batch} / 256 = {scaled}");
    } else if let Some(note) = lr_is_for.filter(|_| train.ranks > 1).and_then(|is_for| linear_rule(lr, is_for, batch)) {
        say!("note: {note}");
    }
}

/// What the linear rule says of a learning rate that is meant for steps of `is_for` images, in steps of `batch`; none where these are as
/// many.
fn linear_rule(lr: f64, is_for: usize, batch: usize) -> Option<String> {
    if is_for == batch || is_for == 0 {
        return None;
    }
    let scaled = short(lr * batch as f64 / is_for as f64);
    Some(format!(
        "a step is of {batch} images, and the learning rate {lr} is meant for {is_for}; by the linear rule it is {lr} x {batch} / {is_for} \
         = {scaled}, which --set optim.lr={scaled} sets"
    ))
}

/// With few digits where a rate has few: 0.3 times 3 is 0.8999999999999999 in f64.
fn short(lr: f64) -> f32 {
    lr as f32
}

/// Names the options of this command in what is wrong with `--resume`.
fn not_resumed(error: RunError) -> Failure {
    match error {
        RunError::Checkpoint(CheckpointError::None { .. }) => request(format!("--resume {error} (named by --out)")),
        RunError::Checkpoint(CheckpointError::Io { .. }) => {
            let advice = "--resume: the checkpoint cannot be read; try again, or name another one";
            anyhow::Error::new(error).context(advice).into()
        }
        error if error.is_request() => request(format!("--resume {error}")),
        error => error.into(),
    }
}

/// Names the options of this command in what is wrong with `--out`.
fn not_begun(error: RunError) -> Failure {
    match &error {
        RunError::Occupied { path } => {
            let run = RunFolder::at(path);
            let advice = match run.newest_checkpoint() {
                Ok(_) => format!("`{} pretrain --resume {}` continues it", program(), run.typed()),
                Err(_) => format!("it {WITHOUT_CHECKPOINT}"),
            };
            request(format!("--out {error}; {advice}"))
        }
        RunError::InUse { .. } => request(format!("--out {error}")),
        // Where the disk is full, another name does not help.
        RunError::Io { source, .. } if !matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            request(format!("--out {error}; name a folder that can be written"))
        }
        _ => error.into(),
    }
}

/// The newest checkpoint of a run, and when it was written.
fn newest_checkpoint(run: &RunFolder) -> Option<(PathBuf, SystemTime)> {
    let path = run.newest_checkpoint().ok()?;
    let written = path.metadata().ok()?.modified().ok()?;
    Some((path, written))
}

/// Says how to go on after training has left the finite numbers, or nothing is wrong but images. `later` is the newest checkpoint as it
/// was before training, where the run has gone back from it.
fn advised(args: &Args, error: TrainError, run: &RunFolder, later: Option<(PathBuf, SystemTime)>) -> Failure {
    // As long as it is there, the run's folder alone does not say what the run was to go on from.
    let is_in_vain = later.is_some() && newest_checkpoint(run) == later;
    // A store may be asked again at once. With images, something is to be done before.
    let condition = if error.is_of_store() { "" } else { "once the images are in order, " };
    if error.is_of_images() && (is_in_vain || args.is_of_another_command && run.newest_checkpoint().is_ok()) {
        say!("{condition}continue with the same command");
        return error.into();
    }
    if args.is_of_another_command {
        return error.into();
    }
    if error.is_of_images() && run.newest_checkpoint().is_ok() {
        say!("{condition}continue with: {} pretrain --resume {}", program(), run.typed());
        return error.into();
    }
    if !error.is_divergence() {
        return error.into();
    }
    let advice = match run.newest_checkpoint() {
        Ok(_) if is_in_vain => "training diverged before it wrote a checkpoint; repeat the command with a lower learning rate, --set \
                                optim.lr=VALUE"
            .to_owned(),
        Ok(_) => format!(
            "training diverged; go on from the last checkpoint with a lower learning rate: `{} pretrain --resume {} --set \
             optim.lr=VALUE`",
            program(),
            run.typed()
        ),
        Err(_) => "training diverged before its first checkpoint; begin again with a lower learning rate, --set optim.lr=VALUE".into(),
    };
    anyhow::Error::new(error).context(advice).into()
}

/// Refuses images that are not those of the run.
fn check_images(args: &Args, run: &RunFolder, data: &Datasets) -> Result<(), Failure> {
    let Some(difference) = DataIdentity::of(data.train.as_ref()).difference_from(run)? else { return Ok(()) };
    let (option, more) = match args.is_of_another_command {
        true => ("", ""),
        false => ("--resume ", ", or add --other-images to go on with these"),
    };
    let path = run.path().display();
    Err(request(format!(
        "{option}{path}: the images are not those that this run was trained on ({difference}); name those with --data{more}"
    )))
}

/// Tells of later checkpoints that a run which goes back will replace.
fn say_what_is_replaced(run: &RunFolder, step: u64) -> Result<(), Failure> {
    let later = run.checkpoints_after(step)?;
    if later > 0 {
        say!("note: {later} later checkpoints of this run stay until it has written a new one, which replaces them");
    }
    Ok(())
}

/// Opens images of which there are to be `whose` figures.
pub fn open_labeled(config: &Config, whose: &str) -> Result<Datasets, Failure> {
    let data = open(config)?;
    if data.test.is_none() {
        let source = &config.data.source;
        return Err(request(format!("--data {source}: {whose} figures need images with labels and a test split")));
    }
    Ok(data)
}

/// Opens the images of a configuration.
pub fn open(config: &Config) -> Result<Datasets, DataError> {
    let source: Source = config.data.source.parse()?;
    let Splits { train, test } = source.open_splits(Limits::default())?;
    // A source without a test split or labels trains all the same, without the k-NN monitor.
    let labeled = |data: &Arc<dyn Dataset>| has_classes(data.as_ref());
    let held_out = test.ok();
    let test = held_out.clone().filter(labeled).filter(|_| labeled(&train));
    if test.is_none() && config.knn.is_on() {
        let figures_of_trained = match held_out {
            Some(_) => "",
            None => {
                "; effective rank and own-view retrieval are of images that are trained on, for want of a test split"
            }
        };
        let source = &config.data.source;
        say!("note: {source} has no labeled test images, so there is no k-NN accuracy{figures_of_trained}");
    }
    // Without classes there is no probe at all.
    if test.is_none() && config.probe.lr > 0.0 && labeled(&train) {
        let source = &config.data.source;
        say!("note: {source} has no labeled test images, so the probe of probe.lr is trained, but not evaluated");
    }
    Ok(Datasets { train, test, held_out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_folder_on_a_full_disk_is_no_wrong_request_and_one_that_cannot_be_written_is() {
        let code = |kind: ErrorKind| {
            not_begun(RunError::Io { path: "run/.lock".into(), source: io::Error::from(kind) }).exit_code()
        };
        assert_eq!([ErrorKind::StorageFull, ErrorKind::QuotaExceeded].map(code), [1, 1]);
        assert_eq!([ErrorKind::PermissionDenied, ErrorKind::NotADirectory].map(code), [2, 2]);
    }

    #[test]
    fn the_linear_rule_is_told_of_another_batch_than_the_rate_is_meant_for_and_of_no_other() {
        assert_eq!([linear_rule(0.06, 256, 256), linear_rule(0.06, 0, 256)], [None, None]);
        for (lr, is_for, batch, words) in [
            (0.06, 64, 256, "by the linear rule it is 0.06 x 256 / 64 = 0.24, which --set optim.lr=0.24 sets"),
            (0.3, 64, 192, "by the linear rule it is 0.3 x 192 / 64 = 0.9, which"),
            (
                0.03,
                256,
                128,
                "a step is of 128 images, and the learning rate 0.03 is meant for 256; by the linear rule it is 0.03",
            ),
        ] {
            let note = linear_rule(lr, is_for, batch).unwrap();
            assert!(note.contains(words), "{note}");
        }
    }
}
