//! `clsa reproduce`.

mod table;

use crate::arguments::parsed;
use crate::failure::{Failure, request, without_checkpoint};
use crate::signals::was_asked_to_stop;
use crate::streams::{put, say};
use crate::{eval, pretrain, program};
use anyhow::anyhow;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clsa_eval::evaluation::{EncoderKind, Evaluation, ProtocolResult};
use clsa_eval::protocols::LinearConfig;
use clsa_model::{FeatureStage, Precision};
use clsa_run::{Comparison, Config, DataIdentity, Metrics, Recipe, RecipeMeasure, RunError, RunFolder};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Repeat an experiment that others have published, and compare.
///
/// Trains the preset NAME in runs/NAME-SEED, or resumes the run there, evaluates it as the publication does, and prints each
/// figure beside the published one. The exit code is 1 if a figure is outside its band, or the run was stopped before the epoch
/// that was asked for.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa reproduce moco-cifar10 --data imagefolder:/data/cifar10 --until-epoch 20
  clsa reproduce moco-cifar10 --until-epoch 0
  clsa reproduce imagenet-single-200 --data imagefolder:/data/imagenet --device cuda --precision bf16
  clsa reproduce --table
  clsa reproduce --table results.md --runs runs --runs docs/runs")]
pub struct Args {
    /// The experiment
    #[arg(required_unless_present = "table", value_parser = names())]
    name: Option<String>,
    /// Where its images are, as KIND:PATH [default: those of the run, if it exists]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Stops after this epoch of the schedule; the same command with a later one goes on, with 0 to the end
    #[arg(long, value_name = "EPOCH", default_value_t = 0, hide_default_value = true)]
    until_epoch: u64,
    /// Seed of weights, order and views, below 2^63 [default: 0, or the run's]
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Arithmetic of the encoders: f32 or bf16 [default: f32, or the run's]
    #[arg(long, value_parser = ["f32", "bf16"])]
    precision: Option<String>,
    /// The run's folder [default: runs/NAME-SEED]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long)]
    threads: Option<String>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Instead of training, writes a page with the figures of all runs that follow an experiment [default: docs/RESULTS.md]
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/RESULTS.md")]
    #[arg(conflicts_with_all = ["name", "data", "until_epoch", "seed", "precision", "out", "threads", "device"])]
    table: Option<PathBuf>,
    /// With --table: a folder of runs, or of what is kept of them (config.toml, metrics.jsonl and eval.json); may be given several times
    /// [default: runs and docs/runs, if they exist]
    #[arg(long, value_name = "FOLDER", requires = "table")]
    runs: Vec<PathBuf>,
}

/// The names of the recipes, each with its images.
fn names() -> PossibleValuesParser {
    Recipe::ALL.map(|recipe| PossibleValue::new(recipe.name).help(recipe.images.name)).into()
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    if let Some(file) = &args.table {
        return table::write(&args.runs, file);
    }
    let name = args.name.as_deref().unwrap_or_default();
    let recipe = Recipe::named(name).ok_or_else(|| request(format!("{name}: there is no such experiment")))?;
    let folder =
        args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-{}", args.seed.unwrap_or(0))));
    train(&args, &recipe, &folder)?;
    let run = RunFolder::open(&folder)?;
    if recipe.measure == RecipeMeasure::Linear && is_trained(&run)? {
        if was_asked_to_stop() {
            let path = run.path().display();
            return Err(anyhow!("{path}: stopped before its evaluation; the same command goes on").into());
        }
        let linear = ["--trained-only", "--protocol", "linear", "--device", &args.device].map(OsString::from);
        let mut options = vec![("--run", folder.clone().into()), ("--out", run.evaluation_file().into())];
        options.extend(data_and_threads(&args));
        eval::run(parsed("eval", &linear, &options)?)?;
    }
    report(&recipe, &run, last_epoch(&args, &run.config()?))
}

/// The epoch that the run is to come to.
fn last_epoch(args: &Args, config: &Config) -> u64 {
    if args.until_epoch == 0 { config.train.epochs } else { args.until_epoch }
}

/// The options that training and evaluation have in common.
fn data_and_threads(args: &Args) -> impl Iterator<Item = (&'static str, OsString)> {
    let data = args.data.as_ref().map(|data| ("--data", data.into()));
    data.into_iter().chain(args.threads.as_ref().map(|threads| ("--threads", threads.into())))
}

/// Begins the run or goes on with it, up to the epoch that was asked for.
fn train(args: &Args, recipe: &Recipe, folder: &Path) -> Result<(), Failure> {
    let mut options: Vec<(&str, OsString)> =
        vec![("--until-epoch", args.until_epoch.to_string().into()), ("--device", args.device.clone().into())];
    options.extend(data_and_threads(args));
    if RunFolder::at(folder).config_file().is_file() {
        let run = RunFolder::open(folder)?;
        let config = run.config()?;
        check_follows(args, recipe, &run, &config)?;
        let wanted = last_epoch(args, &config);
        let done = match run.epochs_done() {
            Err(RunError::NotARun { .. }) => return Err(without_checkpoint("", &run)),
            done => done?,
        };
        // Who was killed in the middle of the last evaluation makes the rest of it.
        if done > wanted || done == wanted && is_measured(recipe, &run, done)? {
            say!("{} has {wanted} epochs already", folder.display());
            return Ok(());
        }
        options.push(("--resume", folder.into()));
    } else {
        if let Some(data) = &args.data {
            let preset = Config::load(recipe.name, &[format!("data.source={data}")])?;
            let images = DataIdentity::of(pretrain::open_labeled(&preset, "its")?.train.as_ref());
            check_images(recipe, &images, &format!("--data {data}"))?;
        }
        options.push(("--preset", recipe.name.into()));
        options.push(("--seed", args.seed.unwrap_or(0).to_string().into()));
        let precision = args.precision.as_deref().unwrap_or("f32");
        options.push(("--set", format!("compute.precision={precision}").into()));
        options.push(("--out", folder.into()));
    }
    let asked: pretrain::Args = parsed("pretrain", &[], &options)?;
    pretrain::run(pretrain::Args { is_of_another_command: true, ..asked })
}

/// Refuses images of other classes than the publication's, and says where there are more or fewer.
fn check_images(recipe: &Recipe, images: &DataIdentity, whose: &str) -> Result<(), Failure> {
    let Some(difference) = recipe.images.difference(images) else { return Ok(()) };
    let name = recipe.images.name;
    if images.classes != recipe.images.classes {
        return Err(request(format!(
            "{whose}: {} was published of {name}, and these are other images ({difference}); name those",
            recipe.name
        )));
    }
    say!("note: what was published of {name} is of all its images, and these are {difference}");
    Ok(())
}

/// Refuses a run that is not what was asked for.
fn check_follows(args: &Args, recipe: &Recipe, run: &RunFolder, config: &Config) -> Result<(), Failure> {
    let path = run.path().display();
    if Recipe::of(config) != Some(*recipe) {
        return Err(request(format!(
            "--out {path}: the run there does not follow {}; name another folder",
            recipe.name
        )));
    }
    if let Some(images) = DataIdentity::read(run)? {
        check_images(recipe, &images, &format!("--out {path}"))?;
    }
    if let Some(seed) = args.seed.filter(|seed| *seed != config.train.seed) {
        let own = config.train.seed;
        return Err(request(format!(
            "--seed {seed}: the run in {path} has the seed {own}; name another folder with --out"
        )));
    }
    let is_wanted = |precision: &&String| (*precision == "bf16") == (config.compute.precision == Precision::Bf16);
    if let Some(precision) = args.precision.as_ref().filter(|precision| !is_wanted(precision)) {
        return Err(request(format!(
            "--precision {precision}: the run in {path} has another; name another folder with --out"
        )));
    }
    Ok(())
}

/// Whether the figure of the last epoch is there, where that is one of training.
fn is_measured(recipe: &Recipe, run: &RunFolder, last: u64) -> Result<bool, Failure> {
    let metrics = Metrics::read(&run.metrics_file())?;
    // A run whose images give no accuracy has none of its beginning either.
    let measured = recipe.measured(&metrics);
    Ok(measured.is_empty() || measured.iter().any(|record| record.epoch == last))
}

fn is_trained(run: &RunFolder) -> Result<bool, Failure> {
    Ok(run.epochs_done()? == run.config()?.train.epochs)
}

/// Prints each figure that there is; fails where the run has not come to the epoch that it was to come to, or a figure is outside its
/// band.
fn report(recipe: &Recipe, run: &RunFolder, wanted: u64) -> Result<(), Failure> {
    let comparisons = comparisons(recipe, run)?;
    for comparison in &comparisons {
        let Comparison { published, top1, .. } = comparison;
        let verdict = if comparison.is_inside() { "inside" } else { "outside" };
        put!(
            "epoch {}: {top1:.1}, published {:.1}, band ±{:.1}: {verdict}",
            published.epoch,
            published.top1,
            published.band
        )?;
    }
    let (path, done, epochs) = (run.path().display(), run.epochs_done()?, run.config()?.train.epochs);
    if done < wanted {
        return Err(anyhow!("{path}: stopped in epoch {} of {wanted}; the same command goes on", done + 1).into());
    }
    if was_asked_to_stop() && !is_measured(recipe, run, done)? {
        return Err(anyhow!("{path}: stopped before the evaluation of epoch {done}; the same command goes on").into());
    }
    if recipe.figures.is_empty() {
        for knn in Metrics::read(&run.metrics_file())?.knn {
            put!("epoch {}: {:.1}, none published", knn.epoch, knn.top1)?;
        }
    } else if comparisons.is_empty() {
        let first = recipe.figures[0].epoch;
        if done < first {
            say!("note: the first published figure is of epoch {first}, which this run has not reached");
        } else {
            say!("note: the run has no figure to compare, which images with labels and a test split would have given");
        }
    }
    if done < epochs {
        say!("the same command with a later --until-epoch goes on, with 0 to epoch {epochs}");
    }
    let outside = comparisons.iter().filter(|comparison| !comparison.is_inside()).count();
    if outside > 0 {
        let text = format!("{outside} of {} figures are outside their band", comparisons.len());
        return Err(anyhow!("{path}: {text}; `{} report` shows the run", program()).into());
    }
    Ok(())
}

/// The figures of a run beside the published ones, as far as both are there.
fn comparisons(recipe: &Recipe, run: &RunFolder) -> Result<Vec<Comparison>, Failure> {
    match recipe.measure {
        RecipeMeasure::Knn | RecipeMeasure::Probe => Ok(recipe.compare(&Metrics::read(&run.metrics_file())?)),
        RecipeMeasure::Linear => {
            let (file, Some(last)) = (run.evaluation_file(), recipe.figures.last()) else { return Ok(Vec::new()) };
            let evaluation = if file.is_file() { Some(Evaluation::read(&file)?) } else { None };
            let transform = run.config()?.center_crop();
            if let Some(evaluation) = &evaluation
                && (!is_of_epoch(evaluation, last.epoch, run)?
                    || evaluation.transform != transform
                    || evaluation.stage != FeatureStage::Backbone)
            {
                return Ok(Vec::new());
            }
            let linear = evaluation.iter().flat_map(|evaluation| &evaluation.protocols).find(|p| is_as_published(p));
            let trained = linear.and_then(|p| p.results.iter().find(|result| result.encoder == EncoderKind::Trained));
            let top1 = trained.and_then(|result| result.figures.main()).map(|figure| figure.value);
            Ok(top1.map(|top1| Comparison { published: *last, top1 }).into_iter().collect())
        }
    }
}

/// Whether a protocol is the linear classifier with the settings by which the experiments were evaluated, of any seed.
fn is_as_published(protocol: &ProtocolResult) -> bool {
    let config = serde_json::from_value::<LinearConfig>(protocol.settings.clone());
    protocol.name() == "linear" && config.is_ok_and(|own| LinearConfig { seed: 0, ..own } == LinearConfig::default())
}

/// Whether an evaluation is of the checkpoint that an epoch, counted from 1, has left. What is kept of a run may have no checkpoints.
fn is_of_epoch(evaluation: &Evaluation, epoch: u64, run: &RunFolder) -> Result<bool, Failure> {
    let steps = Metrics::read(&run.metrics_file())?.steps;
    let last = steps.iter().rfind(|record| record.epoch + 1 == epoch).map(|record| record.step);
    Ok(last.is_some() && evaluation.step() == last)
}
