//! A run as the report shows it: what its folder holds, and what its encoder makes of images.

use super::commands::Commands;
use super::embedding::{Embedding, Images, embedding};
use super::stored_evaluation::{StoredEvaluation, stored_evaluations};
use super::views::{ViewedImage, views};
use super::{Part, ReportOptions};
use crate::protocols::suitable_instead;
use crate::{EvalError, Observer};
use clsa_data::{DataError, Limits, Source, Splits, are_same};
use clsa_run::{Checkpoint, Config, DataIdentity, Metrics, RunError, RunFolder};
use std::path::Path;

/// One of the runs.
#[derive(Debug)]
pub(super) struct ReportedRun {
    /// Short name, different from those of the others.
    pub name: String,
    pub folder: RunFolder,
    pub config: Config,
    pub metrics: Metrics,
    /// Neighbors that vote in the k-NN evaluations of training.
    pub neighbors: usize,
    /// Training step of the newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Epochs that it has behind it; 0 where there is no checkpoint.
    pub epochs_done: u64,
    /// At least one.
    pub evaluations: Part<Vec<StoredEvaluation>>,
    pub views: Part<Vec<ViewedImage>>,
    pub embedding: Part<Embedding>,
}

impl ReportedRun {
    /// Reads a run.
    ///
    /// # Errors
    /// The folder is no run, or a file of it is damaged.
    pub(super) fn read(
        folder: &Path,
        name: String,
        options: &ReportOptions,
        commands: &Commands,
        observer: &dyn Observer,
    ) -> Result<Self, EvalError> {
        let folder = RunFolder::open(folder)?;
        let config = folder.config()?;
        let metrics = Metrics::read(&folder.metrics_file())?;
        let checkpoint = folder.newest_checkpoint().ok().and_then(|file| Checkpoint::step_of(&file));
        let epochs_done = folder.epochs_done().unwrap_or(0);
        let source = options.data.as_deref().unwrap_or(&config.data.source);
        let opened = source.parse::<Source>().and_then(|source| source.open_splits(Limits::default()));
        let evaluations = match stored_evaluations(&folder)? {
            none if none.is_empty() => Err(not_evaluated(&folder, opened.as_ref().ok(), commands)),
            found => Ok(found),
        };
        let known = DataIdentity::read(&folder)?;
        let neighbors = config.knn.neighbors_among(known.as_ref().map_or(usize::MAX, |known| known.images));
        let of = |splits: &Splits| DataIdentity::of(splits.train.as_ref());
        let difference = opened.as_ref().ok().and_then(|splits| known?.difference(&of(splits)));
        let (views, embedding) = match (&opened, difference) {
            (Ok(_), Some(difference)) => {
                let reason = others(source, &difference);
                (Err(reason.clone()), Err(reason))
            }
            (Ok(splits), None) => (
                views(splits.train.as_ref(), &config.views.at_epoch(0), config.train.seed)
                    .map_err(|error| not_made(&error)),
                Self::embedded(&folder, &config, splits, options, commands, observer),
            ),
            (Err(error), _) => (Err(not_opened(error)), Err(not_opened(error))),
        };
        Ok(Self { name, folder, config, metrics, neighbors, checkpoint, epochs_done, evaluations, views, embedding })
    }

    fn embedded(
        folder: &RunFolder,
        config: &Config,
        splits: &Splits,
        options: &ReportOptions,
        commands: &Commands,
        observer: &dyn Observer,
    ) -> Part<Embedding> {
        let ReportOptions { samples, seed, .. } = *options;
        let images = Images { train: splits.train.as_ref(), test: splits.test.as_deref().ok(), samples, seed };
        match folder.newest_checkpoint() {
            Ok(_) => {}
            Err(RunError::NotARun { .. }) => {
                return Err(format!(
                    "This run has no checkpoint yet; once it has trained an epoch, `{}` shows what its encoder makes of images.",
                    commands.report(folder)
                ));
            }
            Err(error) => return Err(format!("The checkpoints of this run cannot be read: {error}.")),
        }
        embedding(folder, config, &images, observer).map_err(|error| not_made(&error))
    }

    /// The settings of the k-NN evaluations of training.
    pub(super) fn knn_settings(&self) -> String {
        let knn = &self.config.knn;
        format!("k = {}, T = {}, {} features", self.neighbors, knn.temperature, knn.stage)
    }

    /// Names of the classes of the run's images, where its data or an evaluation on them tell.
    pub(super) fn classes(&self) -> &[String] {
        if let Ok(embedding) = &self.embedding {
            return &embedding.classes;
        }
        let evaluations = self.evaluations.iter().flatten().map(|stored| &stored.evaluation);
        let mut own = evaluations.filter(|evaluation| are_same(&evaluation.data, &self.config.data.source));
        own.next().map_or(&[], |evaluation| &evaluation.classes)
    }
}

/// What stands in place of a part that cannot be made.
fn not_made(error: &EvalError) -> String {
    format!("This part could not be made: {error}.")
}

fn others(source: &str, difference: &str) -> String {
    format!("{source} has not the images that this run was trained on ({difference}). Name those with --data SOURCE.")
}

fn not_opened(error: &DataError) -> String {
    format!("The images of this run cannot be opened: {error}. Where they have moved, name them with --data SOURCE.")
}

/// What stands in place of the figures of a run without any.
fn not_evaluated(folder: &RunFolder, images: Option<&Splits>, commands: &Commands) -> String {
    let instead = images.and_then(|images| suitable_instead(images.train.as_ref(), images.test.as_deref().ok()));
    let protocol = instead.map_or_else(String::new, |protocol| format!("--protocol {}", protocol.name()));
    let command = commands.eval_run(folder, &protocol);
    match folder.newest_checkpoint() {
        Ok(_) => format!("This run has not been evaluated; `{command}` does it, then make the report again."),
        Err(RunError::NotARun { .. }) => format!(
            "This run has not been evaluated, and has no checkpoint yet that could be; once it has trained an epoch, \
             `{command}` evaluates it."
        ),
        Err(error) => format!("This run has not been evaluated, and its checkpoints cannot be read: {error}."),
    }
}
