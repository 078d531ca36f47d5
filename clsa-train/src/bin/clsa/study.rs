//! `clsa study`.

mod figures;
mod figures_file;
mod page;

use crate::arguments::parsed;
use crate::device::{self, DeviceName};
use crate::failure::{Failure, request, without_checkpoint};
use crate::signals::was_asked_to_stop;
use crate::streams::{put, say};
use crate::{output, pretrain};
use anyhow::{Context, anyhow};
use clsa_run::{DataIdentity, InitConfig, Later, Metrics, RunError, RunFolder, Study, Variant};
use figures::Figures;
use figures_file::{Figure, FiguresFile};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Train variants of one configuration with several seeds, and compare them.
///
/// A study is a TOML file: a question, a preset, the changes that all variants make to it, and for each [[variant]] its name, its own
/// changes, and the variants that it is compared with, seed by seed. Each is trained in RUNS/VARIANT-SEED, all variants with one seed
/// before the next seed; finished trainings are kept, and stopped ones go on. One that diverges is told, and the others are trained.
/// The figure is the k-NN accuracy after the last epoch, with the settings of the table [knn].
///
/// Several machines may share the seeds of a study: give each its own by --first-seed and --seeds, and a file by --figures. These
/// files, concatenated, are such a file again.
#[derive(clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  clsa study ddm --data imagefolder:/data/cifar10 --seeds 3
  clsa study ddm --data imagefolder:/data/cifar10 --seconds 3600 --table ddm.md
  clsa study ddm --data imagefolder:/data/cifar10 --seeds 1 --first-seed 2 --figures third.jsonl
  clsa study my-study.toml --data imagefolder:/data/flowers --runs runs/my-study --device cuda

A study of your own, my-study.toml:
  question = \"Do two draws of augmentations do as well as five?\"
  preset = \"cifar10\"
  set = [\"train.epochs=4\", \"knn.every=4\"]

  [[variant]]
  name = \"five-draws\"

  [[variant]]
  name = \"two-draws\"
  set = [\"views.strong=[{size=32, blur=false, strong={draws=2}}]\"]
  against = [\"five-draws\"]

  [[variant]]
  name = \"ddm-later\"
  set = [\"method.alpha=0.0\"]
  then = { after_epoch = 1, set = [\"method.alpha=1.0\"] }
  against = [\"five-draws\"]")]
pub struct Args {
    #[arg(value_name = "STUDY", help = format!("A study ({}) or a .toml file", Study::names()))]
    study: String,
    /// Where the images are, as KIND:PATH
    #[arg(long, value_name = "SOURCE")]
    data: String,
    /// How many seeds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10))]
    seeds: u64,
    /// The first of the seeds
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    first_seed: u64,
    /// Changes a configuration key of all variants; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Begins no training that, if it took as long as the longest so far, would end after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// The folder of the runs [default: runs/STUDY]
    #[arg(long, value_name = "FOLDER")]
    runs: Option<PathBuf>,
    /// The page with the figures, which is written anew after each training [default: study.md in the folder of the runs]
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// A file of figures: trainings that it lists are not repeated here, and those done here are added
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut study = Study::load(&args.study, &args.overrides)?;
    read_weights(&mut study)?;
    device::open(args.device)?;
    let images = images(&args, &study)?;
    let name = Path::new(&args.study).file_stem().unwrap_or_default();
    let runs = args.runs.clone().unwrap_or_else(|| Path::new("runs").join(name));
    output::check_folder("--runs", &runs)?;
    std::fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
    let table = args.table.clone().unwrap_or_else(|| runs.join("study.md"));
    output::check_ending("--table", &table, "md")?;
    output::check("--table", &table)?;
    let mut kept = None;
    if let Some(path) = &args.figures {
        output::check("--figures", path)?;
        kept = Some(FiguresFile::read(path)?);
    }
    let count = study.variants.len() * args.seeds as usize;
    let mut figures = Figures::default();
    let mut trainings = Trainings {
        args: &args,
        study: &study,
        images,
        runs,
        kept,
        start: Instant::now(),
        longest: Duration::ZERO,
        has_ended: false,
    };
    let mut failed = 0;
    for seed in args.first_seed..args.first_seed + args.seeds {
        for variant in &study.variants {
            let place = format!("{} of {count}", figures.count() + failed + 1);
            let top1 = match trainings.top1(variant, seed, &place) {
                Err(failure) if failure.is_of_one_training() => {
                    say!("warning: {}, seed {seed}: {}", variant.name, failure.sentence());
                    failed += 1;
                    None
                }
                top1 => top1?,
            };
            if let Some(top1) = top1 {
                figures.add(&variant.name, seed, top1);
                clsa_files::write_whole(&table, page::of(&args.study, &study, &figures).as_bytes())
                    .with_context(|| table.display().to_string())?;
            }
        }
    }
    if figures.count() + failed < count {
        say!("note: the same command goes on with what is not trained yet");
    }
    put!("k-NN accuracy{}, percent:\n\n{}", page::neighbors(&study), page::table(&study, &figures))?;
    if failed > 0 {
        return Err(anyhow!("{failed} of {count} trainings have no figure, as the warnings say").into());
    }
    Ok(())
}

/// Finds out what the weights are that variants begin with: a run says so too.
fn read_weights(study: &mut Study) -> Result<(), Failure> {
    let mut known: Vec<(InitConfig, InitConfig)> = Vec::new();
    for index in 0..study.variants.len() {
        let mut config = study.config(&study.variants[index])?;
        let Some(named) = config.init.clone() else { continue };
        if !known.iter().any(|(other, _)| *other == named) {
            pretrain::initial_weights(&mut config)?;
            known.extend(config.init.map(|found| (named.clone(), found)));
        }
        let found = known.iter().find(|(other, _)| *other == named);
        study.variants[index].init = found.map(|(_, found)| found.clone());
    }
    Ok(())
}

/// The file beside a run with the digest of the variant that it was begun as, whose configuration the run may have changed since.
fn digest_file(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// The trainings of a study.
struct Trainings<'a> {
    args: &'a Args,
    study: &'a Study,
    /// What all are trained on.
    images: DataIdentity,
    /// The folder of the runs.
    runs: PathBuf,
    /// The figures that are known without a run.
    kept: Option<FiguresFile>,
    start: Instant,
    /// What the longest training took.
    longest: Duration,
    /// It was asked to stop, or has no time for another training.
    has_ended: bool,
}

impl Trainings<'_> {
    /// The accuracy of a variant with a seed, percent: that of the file of figures, or of its run, which is trained where there is
    /// time for it. None where there is not; there may be figures of what follows.
    fn top1(&mut self, variant: &Variant, seed: u64, place: &str) -> Result<Option<f64>, Failure> {
        let configuration = self.study.digest(variant)?;
        if let Some(kept) = &self.kept
            && let Some(top1) = kept.find(&variant.name, seed, &configuration, &self.images)?
        {
            return Ok(Some(top1));
        }
        let folder = self.runs.join(format!("{}-{seed}", variant.name));
        let is_trained = || is_trained(self.study, variant, seed, &folder, &self.images);
        let fits = |seconds| self.start.elapsed() + self.longest < Duration::from_secs(seconds);
        if !is_trained()? {
            if self.has_ended || was_asked_to_stop() || !self.args.seconds.is_none_or(fits) {
                self.has_ended = true;
                return Ok(None);
            }
            say!("{}, seed {seed}: {place}", variant.name);
            let start = Instant::now();
            train(self.args, self.study, variant, seed, &folder)?;
            self.longest = self.longest.max(start.elapsed());
            if !is_trained()? {
                self.has_ended = true;
                return Ok(None);
            }
        }
        let Some(top1) = top1(&RunFolder::open(&folder)?)? else { return Ok(None) };
        if let Some(kept) = &mut self.kept {
            let (variant, images) = (variant.name.clone(), self.images.names_sha256.clone());
            kept.add(Figure { variant, seed, top1, configuration, images })?;
        }
        Ok(Some(top1))
    }
}

/// Whether a variant is trained with a seed; refuses a run of something else, or on other images.
fn is_trained(
    study: &Study,
    variant: &Variant,
    seed: u64,
    folder: &Path,
    images: &DataIdentity,
) -> Result<bool, Failure> {
    if !RunFolder::at(folder).config_file().is_file() {
        return Ok(false);
    }
    let run = RunFolder::open(folder)?;
    let config = run.config()?;
    let file = digest_file(folder);
    let begun_as = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(request(format!(
                "--runs: {} is missing, which says what the run beside it was begun as; name another folder, or remove the run",
                file.display()
            )));
        }
        read => read.with_context(|| file.display().to_string())?,
    };
    let position = match run.newest_position() {
        Err(RunError::NotARun { .. }) => None,
        position => Some(position?),
    };
    if !study.is_of(variant, begun_as.trim_end(), &config, position.unwrap_or_default())? {
        return Err(request(format!(
            "--runs: the run in {} is not one of this study's variant {}, as it is now; name another folder, or remove the run",
            folder.display(),
            variant.name
        )));
    }
    if config.train.seed != seed {
        return Err(request(format!(
            "--runs: the run in {} has the seed {} and would count as one of {seed}; name another folder, or remove the run",
            folder.display(),
            config.train.seed
        )));
    }
    check_images(images, &run)?;
    match position {
        None => Err(without_checkpoint("--runs: ", &run)),
        // Who was killed in the middle of the last evaluation makes the rest of it.
        Some(position) => Ok(position.epoch == config.train.epochs && top1(&run)?.is_some()),
    }
}

/// Begins a variant or goes on with it, up to its end or until it is asked to stop.
fn train(args: &Args, study: &Study, variant: &Variant, seed: u64, folder: &Path) -> Result<(), Failure> {
    let &Args { threads, device, .. } = args;
    let pretrain = |own: Vec<(&'static str, OsString)>, set: &[String]| {
        if was_asked_to_stop() {
            return Ok(());
        }
        let set = set.iter().map(|change| ("--set", change.into()));
        let data = ("--data", OsString::from(&args.data));
        let options: Vec<_> = [data].into_iter().chain(own).chain(set).collect();
        let asked: pretrain::Args = parsed("pretrain", &[], &options)?;
        pretrain::run(pretrain::Args { threads, device, is_of_another_command: true, ..asked })
    };
    let until = |epoch: u64| ("--until-epoch", OsString::from(epoch.to_string()));
    let go_on = |epoch: u64, set: &[String]| pretrain(vec![("--resume", folder.into()), until(epoch)], set);
    let change = variant.then.as_ref().map_or(0, |then| then.after_epoch);
    if !RunFolder::at(folder).config_file().is_file() {
        let file = digest_file(folder);
        clsa_files::write_whole(&file, format!("{}\n", study.digest(variant)?).as_bytes())
            .with_context(|| file.display().to_string())?;
        let own = vec![
            ("--preset", study.preset.clone().into()),
            ("--seed", seed.to_string().into()),
            ("--out", folder.into()),
            until(change),
        ];
        pretrain(own, &study.overrides(variant))?;
        if change == 0 {
            return Ok(());
        }
    }
    let run = RunFolder::open(folder)?;
    if run.epochs_done()? < change {
        go_on(change, &[])?;
    }
    match (run.epochs_done()?, &variant.then) {
        // It was asked to stop.
        (done, _) if done < change => Ok(()),
        (done, Some(Later { set, .. })) if done == change => go_on(0, set),
        (_, Some(_) | None) => go_on(0, &[]),
    }
}

/// The k-NN accuracy after training, percent; none before.
fn top1(run: &RunFolder) -> Result<Option<f64>, Failure> {
    let last = run.config()?.train.epochs;
    Ok(Metrics::read(&run.metrics_file())?.knn_after(last).map(|knn| knn.top1))
}

/// The images that all are to be trained on.
fn images(args: &Args, study: &Study) -> Result<DataIdentity, Failure> {
    let Some(first) = study.variants.first() else {
        return Err(request(format!("{}: it has no variants; add a [[variant]]", args.study)));
    };
    let mut config = study.config(first)?;
    config.data.source.clone_from(&args.data);
    Ok(DataIdentity::of(pretrain::open_labeled(&config, "a study's")?.train.as_ref()))
}

/// Refuses to compare trainings on different images.
fn check_images(images: &DataIdentity, run: &RunFolder) -> Result<(), Failure> {
    match images.difference_from(run)? {
        Some(difference) => Err(request(format!(
            "--data: it is not what the run in {} was trained on ({difference}); name that, or another folder with --runs",
            run.path().display()
        ))),
        None => Ok(()),
    }
}
