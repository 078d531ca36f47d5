//! `report.html`: a run, or several side by side, as one page that needs nothing else.
//!
//! The page has no scripts and loads nothing; figures are SVG, pictures are data URIs. The same runs, options and images
//! give the same bytes.

mod classes;
mod curves;
mod embedding;
mod metrics;
mod page;
mod palette;
mod picture;
mod plot;
mod projection;
mod results;
mod subject;
mod views;

use crate::EvalError;
use crate::evaluation::write_whole;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::path::{Path, PathBuf};
use subject::Subject;

/// Settings of [`Report::of`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReportOptions {
    /// Test images of the two-dimensional maps, training images where there are none; the neighbours are looked for among
    /// twice as many training images. Default 1000.
    pub samples: usize,
    /// Seed of the choice of these images. Default 0.
    pub seed: u64,
    /// The images, where not those that the run's configuration names.
    pub data: Option<String>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { samples: 1000, seed: 0, data: None }
    }
}

/// Is told of a run's folder how many of how many images have gone through the encoder.
pub type Progress<'a> = dyn Fn(&Path, usize, usize) + 'a;

/// One run, or several that are compared.
#[derive(Debug)]
pub struct Report {
    subjects: Vec<Subject>,
}

impl Report {
    /// Reads the runs in `folders` and looks at images with their newest checkpoints. What a run lacks, such as
    /// `eval.json` or a checkpoint, is said in its place in the page.
    ///
    /// # Errors
    /// No folder is named or one twice, a folder is no run, or its configuration, `metrics.jsonl` or `eval.json` is
    /// damaged.
    pub fn of(folders: &[PathBuf], options: &ReportOptions, progress: &Progress) -> Result<Self, EvalError> {
        if folders.is_empty() {
            return Err(EvalError::Setting { key: "RUN", value: "none".to_owned(), expected: "name at least one run" });
        }
        if options.samples == 0 {
            return Err(EvalError::Setting { key: "samples", value: "0".to_owned(), expected: "use at least 1" });
        }
        let subjects =
            folders.iter().zip(names(folders)?).map(|(folder, name)| Subject::read(folder, name, options, progress));
        Ok(Self { subjects: subjects.collect::<Result<_, _>>()? })
    }

    /// What is missing, one sentence each, with the run's name before it.
    pub fn missing(&self) -> Vec<String> {
        let mut all = Vec::new();
        for subject in &self.subjects {
            let mut reasons = Vec::new();
            reasons.extend(subject.evaluations.as_ref().err());
            reasons.extend(subject.views.as_ref().err());
            reasons.extend(subject.embedding.as_ref().err());
            reasons.dedup();
            all.extend(reasons.into_iter().map(|reason| format!("{}: {reason}", subject.name)));
        }
        all
    }

    /// The page.
    pub fn html(&self) -> String {
        page::page(&self.subjects)
    }

    /// Writes the page, which appears whole.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        write_whole(path, self.html().as_bytes())
    }
}

/// Up to `count` of `len` samples, in an order drawn by the seed.
fn drawn(len: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..len).collect();
    indices.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    indices.truncate(count);
    indices
}

/// The last part of each folder's path, or all of it where two are called the same.
fn names(folders: &[PathBuf]) -> Result<Vec<String>, EvalError> {
    let resolved = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
    for (index, folder) in folders.iter().enumerate() {
        if folders[..index].iter().any(|earlier| resolved(earlier) == resolved(folder)) {
            let reason = "this run is named twice; name each once".to_owned();
            return Err(EvalError::Run { path: folder.clone(), reason });
        }
    }
    let last = |folder: &PathBuf| resolved(folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = |folder: &PathBuf| {
        let alone = folders.iter().filter(|other| last(other) == last(folder)).count() == 1;
        if alone { last(folder) } else { folder.display().to_string() }
    };
    Ok(folders.iter().map(name).collect())
}
