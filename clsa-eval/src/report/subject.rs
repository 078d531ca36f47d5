//! A run as the report shows it: what its folder holds, and what its encoder makes of images.

use super::embedding::{Embedding, Images, embedding};
use super::metrics::Metrics;
use super::views::{ViewedImage, views};
use super::{Progress, ReportOptions};
use crate::{EvalError, Evaluation, Run};
use clsa_augment::ViewPlan;
use clsa_data::{Dataset, Source, Split};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::sync::Arc;

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
    pub evaluation: Part<Evaluation>,
    pub views: Part<Vec<ViewedImage>>,
    pub embedding: Part<Embedding>,
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
        let path = folder.join("eval.json");
        let evaluation = if path.exists() {
            Ok(Evaluation::read(&path)?)
        } else {
            let command = format!("cargo xtask eval --run {}", folder.display());
            Err(format!("This run has not been evaluated; `{command}` does it, then make the report again."))
        };
        let source = options.data.as_deref().unwrap_or(&run.config.data.source).to_owned();
        let open = |split| source.parse::<Source>().and_then(|source| source.open(split));
        let (views, embedding) = match open(Split::Train) {
            Ok(train) => {
                let views = views(train.as_ref(), &tables.views, run.config.train.seed);
                (views.map_err(|error| missing(&error)), embedded(&run, train, open(Split::Test), options, progress))
            }
            Err(error) => {
                let reason = format!(
                    "The images of this run cannot be opened: {error}. Where they have moved, name them with --data \
                     SOURCE."
                );
                (Err(reason.clone()), Err(reason))
            }
        };
        Ok(Self { name, run, tables, config, metrics, evaluation, views, embedding })
    }

    /// Names of the classes, where the run's evaluation or data tell them.
    pub(super) fn classes(&self) -> &[String] {
        match (&self.evaluation, &self.embedding) {
            (Ok(evaluation), _) => &evaluation.classes,
            (_, Ok(embedding)) => &embedding.classes,
            _ => &[],
        }
    }
}

fn embedded(
    run: &Run,
    train: Arc<dyn Dataset>,
    test: Result<Arc<dyn Dataset>, clsa_data::DataError>,
    options: &ReportOptions,
    progress: &Progress,
) -> Part<Embedding> {
    let test = test.map_err(|error| format!("There are no test images to look at: {error}."))?;
    let images = Images { train: train.as_ref(), test: test.as_ref(), samples: options.samples, seed: options.seed };
    let told = |done: usize, of: usize| progress(&run.folder, done, of);
    embedding(run, &images, &told).map_err(|error| match error {
        EvalError::NoClass { sample } => {
            format!("The map and the neighbours need images with a class; {sample} has none.")
        }
        error => missing(&error),
    })
}

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
