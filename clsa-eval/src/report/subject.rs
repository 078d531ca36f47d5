//! A run as the report shows it: what its folder holds, and what its encoder makes of images.

use super::embedding::{Embedding, Images, embedding};
use super::metrics::Metrics;
use super::picture::Picture;
use super::views::{ViewedImage, views};
use super::{Progress, ReportOptions};
use crate::run::checkpoint_step;
use crate::{EvalError, Evaluation, Run};
use clsa_augment::ViewPlan;
use clsa_data::{Limits, Source, Splits};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// A part of the report, or why it is missing and what makes it.
pub(super) type Part<T> = Result<T, String>;

/// One of the runs.
#[derive(Debug)]
pub(super) struct Subject {
    /// Short name that tells it from the others.
    pub name: String,
    pub run: Run,
    pub tables: Tables,
    /// `config.toml`, table by table.
    pub config: Vec<ConfigTable>,
    pub metrics: Metrics,
    /// Training step of the newest checkpoint.
    pub checkpoint: Option<u64>,
    /// At least one.
    pub evaluations: Part<Vec<Evaluated>>,
    pub views: Part<Vec<ViewedImage>>,
    pub embedding: Part<Embedding>,
}

/// An evaluation in the run's folder.
#[derive(Debug)]
pub(super) struct Evaluated {
    /// Name of its file.
    pub file: String,
    pub evaluation: Evaluation,
    /// Training step of the checkpoint that was evaluated; none for other weights.
    pub step: Option<u64>,
    /// The picture of `retrieval`.
    pub picture: Option<Part<Sheet>>,
}

/// The picture that the protocol `retrieval` has written.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Name of its file.
    pub file: String,
    pub picture: Picture,
    /// Whether further rows were left out, to keep the page small.
    pub cut: bool,
}

/// What the report needs of `config.toml` beyond [`Run`].
#[derive(Debug, Deserialize)]
pub(super) struct Tables {
    pub train: TrainTable,
    views: ViewPlan,
}

/// Of `[train]` in `config.toml`.
#[derive(Debug, Deserialize)]
pub(super) struct TrainTable {
    pub epochs: u64,
    pub batch_size: usize,
}

/// A table of `config.toml`.
#[derive(Debug, PartialEq)]
pub(super) struct ConfigTable {
    pub name: String,
    /// Keys, dotted where they are nested, and values.
    pub rows: Vec<(String, String)>,
}

impl Subject {
    /// Reads a run.
    ///
    /// # Errors
    /// The folder is no run, or a file of it is damaged.
    pub(super) fn read(
        folder: &Path,
        name: String,
        options: &ReportOptions,
        progress: &Progress,
    ) -> Result<Self, EvalError> {
        let run = Run::open(folder)?;
        let metrics = Metrics::read(&folder.join("metrics.jsonl"))?;
        let (config, tables) = configuration(folder)?;
        let checkpoint = run.checkpoint().ok().and_then(|file| checkpoint_step(&file));
        let evaluations = evaluations(&run)?;
        let source = options.data.as_deref().unwrap_or(&run.config.data.source).to_owned();
        let opened = source.parse::<Source>().and_then(|source| source.open_splits(Limits::default()));
        let (views, embedding) = match opened {
            Ok(splits) => {
                let views = views(splits.train.as_ref(), &tables.views, run.config.train.seed);
                (views.map_err(|error| missing(&error)), embedded(&run, &splits, options, progress))
            }
            Err(error) => {
                let reason = format!(
                    "The images of this run cannot be opened: {error}. Where they have moved, name them with --data \
                     SOURCE."
                );
                (Err(reason.clone()), Err(reason))
            }
        };
        Ok(Self { name, run, tables, config, metrics, checkpoint, evaluations, views, embedding })
    }

    /// Names of the classes of the run's images, where its data or an evaluation on them tell.
    pub(super) fn classes(&self) -> &[String] {
        if let Ok(embedding) = &self.embedding {
            return &embedding.classes;
        }
        let evaluations = self.evaluations.iter().flatten().map(|evaluated| &evaluated.evaluation);
        let mut own = evaluations.filter(|evaluation| evaluation.data == self.run.config.data.source);
        own.next().map_or(&[], |evaluation| &evaluation.classes)
    }
}

/// Every evaluation in the run's folder.
///
/// # Errors
/// One of them is damaged.
fn evaluations(run: &Run) -> Result<Part<Vec<Evaluated>>, EvalError> {
    let folder = run.folder.display();
    let mut found = Vec::new();
    for path in run.evaluations() {
        let evaluation = Evaluation::read(&path)?;
        let step = checkpoint_step(Path::new(&evaluation.weights));
        let picture = retrieval_picture(&run.folder, &evaluation);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Evaluated { file, evaluation, step, picture });
    }
    Ok(if !found.is_empty() {
        Ok(found)
    } else if run.checkpoint().is_ok() {
        let protocol = fitting_protocol(run);
        Err(format!(
            "This run has not been evaluated; `cargo xtask eval --run {folder}{protocol}` does it, then make the report \
             again."
        ))
    } else {
        Err(format!(
            "This run has not been evaluated, and has no checkpoint yet that could be; once it has trained an epoch, \
             `cargo xtask eval --run {folder}{}` evaluates it.",
            fitting_protocol(run)
        ))
    })
}

/// Names on the command line the protocol for images that have not one class each.
fn fitting_protocol(run: &Run) -> &'static str {
    match run.config.data.source.parse() {
        Ok(Source::Flat(_)) => " --protocol retrieval",
        Ok(Source::Voc2007(_)) => " --protocol voc07",
        _ => "",
    }
}

/// Height of what is shown of a sheet, pixels.
const SHEET: u32 = 1680;

/// The picture that the protocol `retrieval` has written beside its figures.
fn retrieval_picture(folder: &Path, evaluation: &Evaluation) -> Option<Part<Sheet>> {
    let results = evaluation.protocols.iter().flat_map(|protocol| &protocol.results);
    let name = results.filter_map(|result| result.details.get("picture")?.as_str()).next()?;
    let alt =
        format!("rows of pictures: a random image in a grey frame, then its nearest neighbours in {}", evaluation.data);
    Some(match image::open(folder.join(name)) {
        Ok(image) => {
            let (width, height) = (image.width(), image.height());
            let shown = image.crop_imm(0, 0, width, height.min(SHEET)).to_rgb8();
            Ok(Sheet { file: name.to_owned(), picture: Picture::compact(&shown, alt), cut: height > SHEET })
        }
        Err(error) => Err(format!("The picture of retrieval, {name}, cannot be shown: {error}.")),
    })
}

fn embedded(run: &Run, splits: &Splits, options: &ReportOptions, progress: &Progress) -> Part<Embedding> {
    let (samples, seed) = (options.samples, options.seed);
    let test = splits.test.as_deref().ok();
    let images = Images { train: splits.train.as_ref(), test, samples, seed };
    let told = |done: usize, of: usize| progress(&run.folder, done, of);
    if run.checkpoint().is_err() {
        let folder = run.folder.display();
        return Err(format!(
            "This run has no checkpoint yet; once it has trained an epoch, `cargo xtask report {folder}` shows what its \
             encoder makes of images."
        ));
    }
    embedding(run, &images, &told).map_err(|error| missing(&error))
}

/// What stands in place of a part that cannot be made.
fn missing(error: &EvalError) -> String {
    format!("This part could not be made: {error}.")
}

/// `config.toml` as it is shown, and what the report needs of it.
fn configuration(folder: &Path) -> Result<(Vec<ConfigTable>, Tables), EvalError> {
    let path = folder.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|source| EvalError::Io { path, source })?;
    let refused = |error: toml::de::Error| {
        let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let reason = format!("its config.toml is not a run's configuration ({reason}); name another run");
        EvalError::Run { path: folder.to_owned(), reason }
    };
    let document: toml::Table = text.parse().map_err(refused)?;
    let tables = Tables::deserialize(document.clone()).map_err(refused)?;
    let shown = document.into_iter().map(|(name, value)| {
        let mut rows = Vec::new();
        flatten(String::new(), value, &mut rows);
        ConfigTable { name, rows }
    });
    Ok((shown.collect(), tables))
}

fn flatten(key: String, value: toml::Value, rows: &mut Vec<(String, String)>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        toml::Value::Table(table) => {
            table.into_iter().for_each(|(name, value)| flatten(below(&name), value, rows));
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, value) in items.into_iter().enumerate() {
                flatten(format!("{key}[{index}]"), value, rows);
            }
        }
        toml::Value::String(text) => rows.push((key, text)),
        value => rows.push((key, value.to_string())),
    }
}
