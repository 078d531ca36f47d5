//! `report.html`: a run, or several side by side, as one page that needs nothing else.
//!
//! The page has no scripts and loads nothing; figures are SVG, pictures are data URIs. The same runs, options and images
//! give the same bytes.

mod classes;
mod commands;
mod configuration;
mod corruptions;
mod curves;
mod data_sets;
mod embedding;
mod html;
mod label_free;
mod maps;
mod measure_section;
mod neighbors;
mod page;
mod palette;
mod picture;
mod plot;
mod projection;
mod provenance;
mod queries;
mod reported_run;
mod results;
mod sample_names;
mod sampled;
mod stored_evaluation;
mod summary;
mod throughput;
mod training;
mod views;

use crate::{EvalError, Observer};
use commands::Commands;
use reported_run::ReportedRun;
use std::path::{Path, PathBuf};

/// A part of the report, or why it is missing and what makes it.
type Part<T> = Result<T, String>;

/// Settings of [`Report::of`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReportOptions {
    /// Test images of the two-dimensional maps, training images where there are none; the neighbors are looked for among
    /// twice as many training images. Default 1000.
    pub samples: usize,
    /// Seed of the choice of these images. Default 0.
    pub seed: u64,
    /// The images, where not those that the run's configuration names.
    pub data: Option<String>,
    /// What the reader types before the commands that the page names. Default `clsa`.
    pub program: String,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { samples: 1000, seed: 0, data: None, program: "clsa".to_owned() }
    }
}

/// One run, or several that are compared.
///
/// # Examples
/// ```
/// use clsa_eval::Silent;
/// use clsa_eval::clsa_run::{Config, LockedRun};
/// use clsa_eval::report::{Report, ReportOptions};
///
/// # let folder = tempfile::tempdir()?;
/// let new = LockedRun::begin(&folder.path().join("demo"))?;
/// new.write_config(&Config::load("demo", &[])?)?;
/// let run = new.folder();
/// let options = ReportOptions { samples: 100, ..ReportOptions::default() };
/// let report = Report::of(&[run.path().to_owned()], &options, &Silent)?;
/// assert!(report.missing()[0].contains("This run has not been evaluated"));
/// report.write(&run.report_file())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Report {
    runs: Vec<ReportedRun>,
    commands: Commands,
}

impl Report {
    /// Reads the runs in `folders` and looks at images with their newest checkpoints. Missing parts, such as `eval.json`
    /// or a checkpoint, are replaced by a note in the page.
    ///
    /// # Errors
    /// No folder is named or one twice, a folder is no run, or its configuration, `metrics.jsonl` or `eval.json` is
    /// damaged.
    pub fn of(folders: &[PathBuf], options: &ReportOptions, observer: &dyn Observer) -> Result<Self, EvalError> {
        if folders.is_empty() {
            return Err(EvalError::setting("runs", "none", "name at least one run"));
        }
        EvalError::at_least_one("samples", options.samples as u64)?;
        let commands = Commands::new(&options.program);
        let runs = folders.iter().zip(names(folders)?);
        let runs = runs.map(|(folder, name)| ReportedRun::read(folder, name, options, &commands, observer));
        Ok(Self { runs: runs.collect::<Result<_, _>>()?, commands })
    }

    /// What is missing, one sentence each, with the run's name before it.
    pub fn missing(&self) -> Vec<String> {
        let mut all = Vec::new();
        for run in &self.runs {
            let mut reasons = Vec::new();
            reasons.extend(run.evaluations.as_ref().err());
            reasons.extend(run.views.as_ref().err());
            reasons.extend(run.embedding.as_ref().err());
            reasons.dedup();
            all.extend(reasons.into_iter().map(|reason| format!("{}: {reason}", run.name)));
        }
        all
    }

    /// The page.
    pub fn html(&self) -> String {
        page::page(&self.runs, &self.commands)
    }

    /// Writes the page, which appears whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        clsa_files::write_whole(path, self.html().as_bytes())
            .map_err(|source| EvalError::Io { path: path.to_owned(), source })
    }
}

/// The last part of each folder's path, or all of it where two are called the same.
fn names(folders: &[PathBuf]) -> Result<Vec<String>, EvalError> {
    let resolved = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
    for (index, folder) in folders.iter().enumerate() {
        if folders[..index].iter().any(|earlier| resolved(earlier) == resolved(folder)) {
            return Err(EvalError::NamedTwice { path: folder.clone() });
        }
    }
    let last = |folder: &PathBuf| resolved(folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = |folder: &PathBuf| {
        let alone = folders.iter().filter(|other| last(other) == last(folder)).count() == 1;
        if alone { last(folder) } else { folder.display().to_string() }
    };
    Ok(folders.iter().map(name).collect())
}
