//! `clsa report`.

use crate::eval::console::Console;
use crate::failure::{Failure, request};
use crate::streams::say;
use crate::{device, output, program};
use clsa_data::Source;
use clsa_eval::report::{Report, ReportOptions};
use clsa_run::RunFolder;
use std::path::{Path, PathBuf};

/// Write a run's report.html; without arguments that of the newest run in ./runs.
///
/// The page holds configuration, curves, figures of all protocols, pictures and maps, and needs no network and no
/// scripts. Several runs give one page that compares them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa report
  clsa report runs/demo --samples 2000
  clsa report runs/clsa runs/mocov2 --out comparison.html")]
pub struct Args {
    /// The runs: their folders [default: the newest in ./runs]
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the run, or in the current folder where several runs are compared]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The images, as KIND:PATH, if they have moved since the run
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Test images on the maps (training images if there are none); neighbors are sought among twice as many training images,
    /// and t-SNE shows at most 2000
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    samples: u32,
    /// Seed of the choice of these images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    device::set_threads(args.threads)?;
    if let Some(source) = &args.data {
        source.parse::<Source>().map_err(|error| request(format!("--data: {error}")))?;
    }
    let runs = match args.runs {
        none if none.is_empty() => vec![RunFolder::newest(Path::new("runs"))?.path().to_owned()],
        runs => runs,
    };
    let out = args.out.unwrap_or_else(|| match runs.as_slice() {
        [run] => run.join("report.html"),
        _ => "report.html".into(),
    });
    for run in &runs {
        RunFolder::open(run)?;
    }
    output::check_ending("--out", &out, "html")?;
    output::check("--out", &out)?;
    let samples = args.samples as usize;
    let options = ReportOptions { samples, seed: args.seed, data: args.data, program: program().to_owned() };
    let report = Report::of(&runs, &options, &Console)?;
    for missing in report.missing() {
        say!("note: {missing}");
    }
    report.write(&out)?;
    say!("written: {}", out.display());
    Ok(())
}
