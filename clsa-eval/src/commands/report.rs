//! `report`: a run, or several side by side, as one page.

use super::eval::progress::Progress;
use crate::{Failure, request};
use anyhow::{Context, anyhow};
use clsa_eval::{Report, ReportOptions, Run};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Write a run's report.html; without arguments that of the newest run in ./runs.
///
/// The page holds configuration, curves, figures of all protocols, pictures and maps, and needs no network and no
/// scripts. Several runs give one page that compares them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask report
  cargo xtask report runs/demo --samples 2000
  cargo xtask report runs/clsa runs/mocov2 --out comparison.html")]
pub struct Args {
    /// The runs: their folders.
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page; default: report.html in the run, or in the current folder where several runs are compared.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The images, where they are no longer where the run found them, as KIND:PATH.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Test images of the maps (training images where there are none); neighbours are looked for among twice as many
    /// training images, and t-SNE is drawn of at most 2000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    samples: u32,
    /// Seed of the choice of these images.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that compute; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global().context("--threads")?;
    if let Some(source) = &args.data {
        source.parse::<clsa_data::Source>().map_err(|error| request(anyhow!("--data: {error}")))?;
    }
    if let Some(out) = &args.out
        && let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        return Err(request(anyhow!("--out {}: there is no folder {}", out.display(), folder.display())));
    }
    let runs = if args.runs.is_empty() { vec![Run::newest(Path::new("runs"))?.folder] } else { args.runs };
    let out = args.out.unwrap_or_else(|| match runs.as_slice() {
        [run] => run.join("report.html"),
        _ => "report.html".into(),
    });
    if out.is_dir() {
        return Err(request(anyhow!("--out {}: this is a folder; name a file in it", out.display())));
    }
    let options = ReportOptions { samples: args.samples as usize, seed: args.seed, data: args.data };
    let shown = RefCell::new(None);
    let progress = |run: &Path, done: usize, of: usize| {
        let mut shown = shown.borrow_mut();
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        shown.get_or_insert_with(|| Progress::new(&format!("features, {name}"), "images")).at(done as u64, of as u64);
        if done >= of {
            *shown = None;
        }
    };
    let report = Report::of(&runs, &options, &progress)?;
    for missing in report.missing() {
        eprintln!("note: {missing}");
    }
    report.write(&out)?;
    eprintln!("written: {}", out.display());
    Ok(())
}
