//! The page of all runs that follow a recipe.

use super::comparisons;
use crate::failure::{Failure, request};
use crate::output;
use crate::source_kind::source_kind;
use crate::streams::say;
use anyhow::Context;
use clsa_model::Precision;
use clsa_run::{Comparison, Config, DataIdentity, Metrics, Recipe, RecipeMeasure, RunFolder, file_sha256};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// A run that follows a recipe.
struct RecipeRun {
    config: Config,
    metrics: Metrics,
    comparisons: Vec<Comparison>,
    path: PathBuf,
    /// SHA-256 of its records.
    records: String,
}

/// The folders of runs that are looked at where none is named.
const USUAL_FOLDERS: [&str; 2] = ["runs", "docs/runs"];

/// Writes the page from the runs in some folders.
pub fn write(folders: &[PathBuf], file: &Path) -> Result<(), Failure> {
    output::check_ending("--table", file, "md")?;
    output::check("--table", file)?;
    let folders = match folders {
        [] => USUAL_FOLDERS.map(PathBuf::from).into_iter().filter(|folder| folder.is_dir()).collect(),
        named => named.to_vec(),
    };
    if folders.is_empty() {
        let usual = USUAL_FOLDERS.join(" nor ");
        return Err(request(format!("--table: there is neither {usual} here; name folders of runs with --runs")));
    }
    let found = found(&folders)?;
    if found.is_empty() {
        let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(request(format!("--runs {}: no run there follows an experiment", names.join(", "))));
    }
    let page = page(&found)?;
    clsa_files::write_whole(file, page.as_bytes()).with_context(|| file.display().to_string())?;
    say!("written: {}", file.display());
    Ok(())
}

/// The runs by recipe, in the order of the table of recipes, then by seed.
fn found(folders: &[PathBuf]) -> Result<Vec<(Recipe, Vec<RecipeRun>)>, Failure> {
    let mut paths = BTreeSet::new();
    for folder in folders {
        let entries =
            std::fs::read_dir(folder).map_err(|error| request(format!("--runs {}: {error}", folder.display())))?;
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    let mut all: Vec<(Recipe, RecipeRun)> = Vec::new();
    for path in paths {
        match read(&RunFolder::at(&path)) {
            Ok(found) => all.extend(found),
            Err(failure) => say!("warning: {}; this run is left out", failure.sentence()),
        }
    }
    // A run and what is kept of it are one, which has what either has.
    all.sort_by_key(|(_, run)| (Reverse(run.comparisons.len()), run.path.clone()));
    let mut records = HashSet::new();
    all.retain(|(_, run)| {
        run.metrics.steps.is_empty() && run.metrics.knn.is_empty() || records.insert(run.records.clone())
    });
    all.sort_by_key(|(_, run)| (run.config.train.seed, run.path.clone()));
    let mut by_recipe: Vec<_> = Recipe::ALL.map(|recipe| (recipe, Vec::new())).into();
    for (recipe, run) in all {
        if let Some((_, runs)) = by_recipe.iter_mut().find(|(known, _)| *known == recipe) {
            runs.push(run);
        }
    }
    by_recipe.retain(|(_, runs)| !runs.is_empty());
    Ok(by_recipe)
}

/// A run and the recipe that it follows; none for other folders, and for runs on other images.
fn read(run: &RunFolder) -> Result<Option<(Recipe, RecipeRun)>, Failure> {
    if !run.config_file().is_file() {
        return Ok(None);
    }
    let config = run.config()?;
    let Some(recipe) = Recipe::of(&config) else { return Ok(None) };
    let path = run.path().to_path_buf();
    if let Some(difference) = DataIdentity::read(run)?.and_then(|images| recipe.images.difference(&images)) {
        let (path, name) = (path.display(), recipe.images.name);
        say!("note: {path} follows {}, but not on {name} ({difference}); it is left out", recipe.name);
        return Ok(None);
    }
    let metrics = Metrics::read(&run.metrics_file())?;
    let comparisons = comparisons(&recipe, run)?;
    let records = file_sha256(&run.metrics_file())?;
    Ok(Some((recipe, RecipeRun { config, metrics, comparisons, path, records })))
}

fn page(found: &[(Recipe, Vec<RecipeRun>)]) -> Result<String, Failure> {
    let mut page = String::from(
        "# Results beside published ones\n\n\
         Written by `cargo xtask reproduce --table` from the runs that follow an experiment of others, or one that is to be held \
         against it. Their settings are the same, but for what has no part in the result, the seed, the arithmetic and how a step is \
         spread. Top-1 accuracy in percent, with the difference to the published figure, and whether that is in the band.\n",
    );
    for (recipe, runs) in found {
        page += &format!("\n## {}\n\n", recipe.name);
        page += &match recipe.measure {
            RecipeMeasure::Knn => {
                let knn = &runs[0].config.knn;
                format!(
                    "{}; k-NN with k = {} and T = {} on the {}, of all training images for all test images.",
                    recipe.images.name, knn.k, knn.temperature, knn.stage
                )
            }
            RecipeMeasure::Probe => {
                format!("{}; a linear classifier that is trained beside the encoder.", recipe.images.name)
            }
            RecipeMeasure::Linear => format!("{}; a linear classifier on the frozen backbone.", recipe.images.name),
        };
        page += &format!(" Published: {}.\n\n", recipe.source);
        page += &table(recipe, runs)?;
        page += "\nCommands:\n\n```sh\n";
        for run in runs {
            page += &command(recipe, run);
        }
        page += "```\n";
    }
    Ok(page)
}

/// Rows are epochs, columns runs.
fn table(recipe: &Recipe, runs: &[RecipeRun]) -> Result<String, Failure> {
    let mut head = "| epoch | published |".to_owned();
    let mut line = "|--:|--:|".to_owned();
    for run in runs {
        let precision = match run.config.compute.precision {
            Precision::F32 => "",
            Precision::F64 => ", f64",
            Precision::Bf16 => ", bf16",
        };
        // The same images may be there in files that have lost something.
        let kind = source_kind(&run.config.data.source);
        head += &format!(" seed {}, {kind}{precision} |", run.config.train.seed);
        line += "--:|";
    }
    let mut epochs: BTreeSet<u64> = recipe.figures.iter().map(|figure| figure.epoch).collect();
    epochs.extend(runs.iter().flat_map(|run| recipe.measured(&run.metrics)).map(|record| record.epoch));
    let mut rows = format!("{head}\n{line}\n");
    for epoch in epochs {
        let published = recipe.figures.iter().find(|figure| figure.epoch == epoch);
        let text = published.map_or(String::new(), |figure| format!("{:.2} ± {:.1}", figure.top1, figure.band));
        rows += &format!("| {epoch} | {text} |");
        for run in runs {
            let compared = run.comparisons.iter().find(|c| c.published.epoch == epoch);
            let own = recipe.measured(&run.metrics).iter().rfind(|record| record.epoch == epoch);
            rows += &match (compared, own) {
                (Some(compared), _) => {
                    let verdict = if compared.is_inside() { "inside" } else { "outside" };
                    format!(" {:.1} ({:+.1}, {verdict}) |", compared.top1, compared.difference())
                }
                (None, Some(own)) => format!(" {:.1} |", own.top1),
                (None, None) => " |".to_owned(),
            };
        }
        rows += "\n";
    }
    Ok(rows)
}

/// The command that repeats a run.
fn command(recipe: &Recipe, run: &RecipeRun) -> String {
    let kind = source_kind(&run.config.data.source);
    let seed = match run.config.train.seed {
        0 => String::new(),
        seed => format!(" --seed {seed}"),
    };
    let precision = if run.config.compute.precision == Precision::Bf16 { " --precision bf16" } else { "" };
    let until = match run.config.train.stop_epoch {
        0 => String::new(),
        epoch => format!(" --until-epoch {epoch}"),
    };
    format!("cargo xtask reproduce {} --data {kind}:PATH{seed}{precision}{until}\n", recipe.name)
}
