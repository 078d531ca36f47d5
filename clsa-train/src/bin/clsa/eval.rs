//! `clsa eval`.

pub mod console;
mod files;
mod settings;

use crate::device::ComputeArgs;
use crate::failure::{Failure, request};
use crate::output;
use crate::program;
use crate::streams::{put, say};
use crate::subject::{EncoderArgs, Subject};
use anyhow::{Context, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clsa_data::{Limits, Source, Splits};
use clsa_eval::EvalError;
use clsa_eval::evaluation::Evaluation;
use clsa_eval::protocols::{
    DEFAULT_PROTOCOLS, EvalData, PROTOCOLS, Picture, Protocol, SettingValue, Settings, Workbench, WorkbenchConfig,
    check, named,
};
use clsa_model::FeatureStage;
use clsa_run::DataIdentity;
use console::Console;
use settings::{SettingOptions, named_as_options};
use std::path::{Path, PathBuf};

/// Evaluate a run or a weight file; without options the newest run in ./runs.
///
/// Compares the trained encoder with the untrained one and raw pixels (unless --trained-only) and with chance. The figures are printed
/// and written to eval.json in the run (eval-NAME.json for other images than the run's), or to WEIGHTS.eval.json in the current folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa eval
  clsa eval --run runs/demo --protocol knn --k 200
  clsa eval --run runs/demo --protocol knn --knn moco --stage embedding
  clsa eval --run runs/demo --protocol linear --lr 1,3,10,30
  clsa eval --run runs/demo --protocol finetune --labels 10%
  clsa eval --run runs/demo --protocol voc07 --data voc2007:/data/VOCdevkit
  clsa eval --run runs/demo --protocol knn,corruptions --corruption-images 500
  clsa eval --run runs/demo --protocol retrieval --data flat:/data/photographs
  clsa eval --weights resnet50.pth --data imagefolder:/data/imagenet --protocol linear --epochs 10 --trained-only")]
pub struct Args {
    #[command(flatten)]
    encoder: EncoderArgs,
    /// The protocols, separated by commas [default: knn,linear-features]
    #[arg(long, value_delimiter = ',', value_parser = protocol_names(), hide_default_value = true)]
    #[arg(default_values = DEFAULT_PROTOCOLS.map(|protocol| protocol.name()))]
    protocol: Vec<String>,
    /// The images, as KIND:PATH, such as imagefolder:/data/imagenet [default: those of the run]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Where in the encoders features are taken: backbone (its last stage), embedding (after the projection head) or a stage, such as
    /// layer3 [default: backbone]
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    #[command(flatten)]
    settings: SettingOptions,
    /// Evaluate only the trained encoder; the untrained one and raw pixels often double the time
    #[arg(long)]
    trained_only: bool,
    /// Print the figures of each class too; eval.json has them always
    #[arg(long)]
    per_class: bool,
    /// Seed of confidence intervals, held-out images, labeled images, random crops, corruptions and queries
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the figures are written
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where features and interrupted trainings are kept [default: the run, or WEIGHTS.eval in the current folder]
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// The names of the protocols, each with what it does.
fn protocol_names() -> PossibleValuesParser {
    PROTOCOLS.map(|protocol| PossibleValue::new(protocol.name()).help(protocol.about())).into()
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = args.compute.open()?;
    let protocols = protocols(&args.protocol);
    let given = args.settings.given(args.seed);
    settings::check_read(&given, &protocols)?;
    // Sides that only protocols with sides of their own read say nothing of how the others' images are cut.
    let cut = protocols.iter().any(|protocol| !protocol.has_own_sides());
    let pixels = |name| -> Result<Option<u32>, Failure> {
        let pixels = given.count(name)?.filter(|_| cut);
        Ok(pixels.map(|pixels| u32::try_from(pixels).unwrap_or(u32::MAX)))
    };
    let subject = Subject::of(&args.encoder, args.stage.as_deref(), [pixels("resize")?, pixels("crop")?])?;
    let settings = settings(given, &subject);
    if protocols.iter().any(|protocol| protocol.name() == "knn") {
        say_of_other_features(&subject);
    }
    for protocol in &protocols {
        protocol.check_settings(&settings).map_err(named_as_options)?;
    }
    if let Some(protocol) = protocols.iter().find(|protocol| protocol.trains_backbone())
        && subject.stage != FeatureStage::Backbone
    {
        let (stage, name) = (&subject.stage, protocol.name());
        return Err(request(format!("--stage {stage}: {name} trains the whole backbone; leave one of the two out")));
    }
    let usual = args.out.clone().unwrap_or_else(|| files::usual(args.data.as_deref(), &subject));
    output::check("--out", &usual)?;
    files::check_replaceable(&usual)?;
    let cache = args.cache.clone().unwrap_or_else(|| subject.cache());
    output::check_folder("--cache", &cache)?;
    let source = subject.source(args.data.as_deref())?;
    for folder in [&cache, &cache.join("features")] {
        clsa_files::remove_abandoned(folder).with_context(|| folder.display().to_string())?;
    }
    let trained = subject.trained(&device)?;
    let data = open(&source, &protocols, &settings)?;
    // Also where they are named as the run's own are.
    if args.data.is_none() || usual == files::usual(None, &subject) {
        check_images(&subject, &source, &data)?;
    }
    let untrained = if args.trained_only { None } else { Some(subject.untrained(&device)?) };
    let config = WorkbenchConfig {
        trained: &trained,
        untrained: untrained.as_ref(),
        data,
        transform: subject.transform,
        settings,
        cache,
    };
    let mut bench = Workbench::new(config, &Console)?;
    let mut evaluation = bench.evaluation(&subject.weights.display().to_string(), &source.to_string());
    let out = match &args.out {
        Some(out) => out.clone(),
        None => files::for_evaluation(&usual, &subject, &evaluation),
    };
    files::check_replaceable(&out)?;
    bench.set_evaluation_file(&out);
    announce(&subject, &evaluation);
    let (mut pictures, mut written, mut end) = (Vec::new(), Ok(Vec::new()), Ok(()));
    for protocol in protocols {
        match bench.run(protocol) {
            Ok(finished) => {
                evaluation.protocols.extend(finished.results);
                pictures.extend(finished.pictures);
            }
            Err(error) => {
                end = Err(advised(error));
                break;
            }
        }
        // What is done is kept where a later protocol fails or is interrupted. Where it cannot be written, the next one tries again.
        written = write_files(&evaluation, &pictures, &out);
    }
    if evaluation.protocols.is_empty() {
        return end;
    }
    for path in written.iter().flatten() {
        say!("written: {}", path.display());
    }
    let per_class = if args.per_class { evaluation.per_class_table() } else { String::new() };
    let tables = evaluation.table() + &evaluation.corruption_table() + &per_class;
    // The figures are printed also where a later protocol failed, or where there is no file of them.
    let printed = put!("{}", tables.trim_end());
    if let (Err(_), Err(unwritten)) = (&end, &written) {
        say!("warning: {}", unwritten.sentence());
    }
    end.and(written.map(drop)).and(printed)
}

/// Says what to do about an image that cannot be used.
fn advised(error: EvalError) -> Failure {
    match &error {
        EvalError::Sample(sample) if !sample.is_of_store() => {
            let advice = format!("`{} data verify` lists such images, and `data pack` leaves them out", program());
            let sentence = format!("{error}; {advice}");
            if error.is_request() { request(sentence) } else { anyhow!(sentence).into() }
        }
        _ => named_as_options(error),
    }
}

/// Writes the evaluation, with what an earlier one in the file has beside it, and then its pictures. Gives the files.
fn write_files(evaluation: &Evaluation, pictures: &[Picture], out: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut evaluation = evaluation.clone();
    if out.exists() {
        match Evaluation::read(out) {
            Ok(earlier) => evaluation.keep_other_protocols(earlier),
            // It was an evaluation when the work began, which is not to be lost now.
            Err(error) => say!("warning: {error}; it is replaced"),
        }
    }
    evaluation.write(out)?;
    let mut written = vec![out.to_owned()];
    for picture in pictures {
        let path = out.with_file_name(&picture.file_name);
        clsa_files::write_whole(&path, &picture.png).map_err(|source| EvalError::Io { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(written)
}

/// The protocols of these names, each once.
fn protocols(names: &[String]) -> Vec<&'static dyn Protocol> {
    let mut asked: Vec<&'static dyn Protocol> = Vec::new();
    for protocol in names.iter().filter_map(|name| named(name)) {
        if asked.iter().all(|other| other.name() != protocol.name()) {
            asked.push(protocol);
        }
    }
    asked
}

/// Opens the images, which must suit all protocols.
fn open(source: &Source, protocols: &[&dyn Protocol], settings: &Settings) -> Result<EvalData, Failure> {
    let Splits { train, test } = source.open_splits(Limits::default())?;
    match test {
        Ok(test) => {
            let data = EvalData::new(train, Some(test));
            check(protocols, &data, settings).map_err(named_as_options)?;
            Ok(data)
        }
        Err(no_test) => {
            let data = EvalData::new(train, None);
            check(protocols, &data, settings).map_err(|error| request(format!("{no_test}; {error}")))?;
            say!("note: {no_test}; the queries are training images");
            Ok(data)
        }
    }
}

/// Refuses images that are not those of the run: their figures would count as those of its own.
fn check_images(subject: &Subject, source: &Source, data: &EvalData) -> Result<(), Failure> {
    let Some((run, _)) = &subject.run else { return Ok(()) };
    match DataIdentity::of(data.train().as_ref()).difference_from(run)? {
        Some(difference) => Err(request(format!(
            "{}: the images of {source} are not those that this run was trained on ({difference}); name those with --data, or these with \
             --data and a file with --out",
            run.path().display()
        ))),
        None => Ok(()),
    }
}

/// Says where the k-NN accuracies of a run's training are no match for these.
fn say_of_other_features(subject: &Subject) {
    if let Some((_, config)) = &subject.run
        && config.knn.is_on()
        && config.knn.stage != subject.stage
    {
        let own = &config.knn.stage;
        say!(
            "note: the k-NN accuracies of this run's training are of other features than these; those are --stage {own}"
        );
    }
}

/// The settings, with the run's where none are given.
fn settings(given: Settings, subject: &Subject) -> Settings {
    match &subject.run {
        Some((_, config)) => given
            .with_default("k", SettingValue::Count(config.knn.k as u64))
            .with_default("temperature", SettingValue::Number(config.knn.temperature)),
        None => given,
    }
}

/// Says what is evaluated on what.
fn announce(subject: &Subject, evaluation: &Evaluation) {
    say!(
        "{}: {} x {}; {}: {} training and {} test images of {} classes",
        evaluation.weights,
        subject.model.arch.name(),
        subject.model.width,
        evaluation.data,
        evaluation.train_samples,
        evaluation.test_samples,
        evaluation.classes.len(),
    );
}
