//! `clsa bench`.

use crate::arguments::one_of;
use crate::device::{self, DeviceName};
use crate::failure::{Failure, request};
use crate::ranks::Ranks;
use crate::streams::{put, say};
use clap::{Subcommand, ValueEnum};
use clsa_augment::{MAX_SIDE, ViewPlan};
use clsa_data::{Source, Split};
use clsa_model::{Arch, Backend, Compute, ModelConfig, Precision, Stem};
use clsa_train::TrainError;
use clsa_train::bench::{AugmentBench, LoaderBench, LossBench, RanksBench, StepBench};
use serde_json::Value;
use std::path::PathBuf;

/// Measure the code that training runs; prints a line for each figure, or with --json an object of all.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa bench step --arch resnet50 --batch 8 --key 224 --weak 224 --strong 96 --bank 65536 --json
  clsa bench loss --batch 32 --weak 5 --strong 5 --json
  clsa bench augment --preset single --threads 1 --images 200 photos/*.jpg --json
  clsa bench loader imagefolder:/data/imagenet --preset single --threads 2
  mpirun -n 2 clsa bench ranks --arch resnet18 --stem cifar --batch 128 --key 32")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One training step on random views: forward, loss, backward, update
    Step(Step),
    /// The loss on random embeddings: forward and backward
    Loss(Loss),
    /// JPEG bytes to the views of a preset
    Augment(Augment),
    /// Images of a data set to batches of views, by the loader that training uses
    Loader(LoaderArgs),
    /// The exchanges of a training step among processes, which an MPI launcher has started
    Ranks(RanksArgs),
}

/// The arithmetic that is measured.
const PRECISIONS: &[&str] = &["f32", "bf16"];
/// The first layers of networks that are measured.
const STEMS: &[&str] = &["imagenet", "cifar"];

#[derive(clap::Args)]
struct Step {
    #[arg(long, default_value = "resnet50")]
    arch: String,
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Side of the key view
    #[arg(long, default_value_t = 224)]
    key: usize,
    /// Sides of the weak views
    #[arg(long, num_args = 1.., default_values_t = [224])]
    weak: Vec<usize>,
    /// Sides of the strong views
    #[arg(long, num_args = 0.., default_values_t = [96])]
    strong: Vec<usize>,
    #[arg(long, default_value_t = 65_536)]
    bank: usize,
    #[arg(long, default_value = "imagenet", value_parser = one_of::<Stem>(STEMS))]
    stem: Stem,
    /// Multiple of the base width
    #[arg(long, default_value_t = 1.0)]
    width: f64,
    #[arg(long, default_value_t = 2, value_parser = device::thread_count)]
    threads: usize,
    /// Measured steps, after one that is not
    #[arg(long, default_value_t = 5)]
    steps: usize,
    #[arg(long, default_value = "f32", value_parser = one_of::<Precision>(PRECISIONS))]
    precision: Precision,
    /// Portable operations instead of the device's kernels
    #[arg(long)]
    portable: bool,
    /// On a GPU, time cuDNN's plans and take the fastest, as `compute.tune` does
    #[arg(long)]
    tune: bool,
    /// On a GPU, measure one more step kernel by kernel
    #[arg(long)]
    profile: bool,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Loss {
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Number of weak views
    #[arg(long, default_value_t = 5)]
    weak: usize,
    /// Number of strong views
    #[arg(long, default_value_t = 5)]
    strong: usize,
    #[arg(long, default_value_t = 65_536)]
    bank: usize,
    #[arg(long, default_value_t = 128)]
    dim: usize,
    #[arg(long, default_value_t = 2, value_parser = device::thread_count)]
    threads: usize,
    /// Measured steps, after one that is not
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Storage of the bank
    #[arg(long, default_value = "f32", value_parser = one_of::<Precision>(PRECISIONS))]
    precision: Precision,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct RanksArgs {
    #[arg(long, default_value = "resnet50")]
    arch: String,
    #[arg(long, default_value = "imagenet", value_parser = one_of::<Stem>(STEMS))]
    stem: Stem,
    /// Images of each process
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Side of the key view
    #[arg(long, default_value_t = 224)]
    key: usize,
    /// Measured repetitions of each exchange, after one that is not counted
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Augment {
    /// JPEG files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Which views
    #[arg(long, default_value = "single")]
    preset: Plan,
    #[arg(long, default_value_t = 1, value_parser = device::thread_count)]
    threads: usize,
    /// Images to make views of, the files in turn
    #[arg(long, default_value_t = 200)]
    images: usize,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct LoaderArgs {
    /// The data set, as KIND:PATH
    source: String,
    /// Which views
    #[arg(long, default_value = "single")]
    preset: Plan,
    #[arg(long, default_value_t = 2, value_parser = device::thread_count)]
    threads: usize,
    #[arg(long, default_value_t = 10)]
    batch: usize,
    /// Images to load, in as many epochs as that takes
    #[arg(long, default_value_t = 400)]
    images: usize,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Plan {
    Single,
    Multi,
}

impl Plan {
    fn plan(self) -> ViewPlan {
        match self {
            Plan::Single => ViewPlan::single(),
            Plan::Multi => ViewPlan::multi(),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::Step(step) => run_step(step),
        What::Loss(loss) => run_loss(loss),
        What::Augment(augment) => run_augment(augment),
        What::Loader(loader) => run_loader(loader),
        What::Ranks(ranks) => run_ranks(ranks),
    }
}

fn run_step(args: Step) -> Result<(), Failure> {
    check(&[("--batch", args.batch), ("--steps", args.steps), ("--bank", args.bank)], MOST)?;
    check(&[("--weak", args.weak.len())], MOST)?;
    let sides = [("--key", args.key)].into_iter();
    let sides = sides.chain(args.weak.iter().map(|side| ("--weak", *side)));
    let sides: Vec<_> = sides.chain(args.strong.iter().map(|side| ("--strong", *side))).collect();
    check(&sides, MAX_SIDE as usize)?;
    for (name, side) in &sides {
        check_numbers(&[("--batch", args.batch), (*name, *side), (*name, *side)])?;
    }
    device::set_threads(args.threads)?;
    let arch: Arch = args.arch.parse()?;
    let backend = if args.portable { Backend::Portable } else { Backend::Auto };
    let bench = StepBench {
        model: ModelConfig { arch, stem: args.stem, width: args.width, ..ModelConfig::default() },
        compute: Compute { backend, precision: args.precision, bn_splits: 1 },
        batch: args.batch,
        key: args.key,
        weak: args.weak,
        strong: args.strong,
        bank: args.bank,
        steps: args.steps,
        tune: args.tune,
        profile: args.profile,
    };
    let time = bench.run(&device::open(args.device)?)?;
    if let Some(why) = time.without_kernels() {
        say!("note: {why}");
    }
    print(&time, args.json)
}

fn run_loss(args: Loss) -> Result<(), Failure> {
    check(&[("--batch", args.batch), ("--bank", args.bank), ("--dim", args.dim), ("--steps", args.steps)], MOST)?;
    check(&[("--weak", args.weak.max(1)), ("--strong", args.strong.max(1))], MOST)?;
    check_numbers(&[("--bank", args.bank), ("--dim", args.dim)])?;
    check_numbers(&[("--batch", args.batch), ("--dim", args.dim), ("--weak", args.weak.max(args.strong).max(1))])?;
    device::set_threads(args.threads)?;
    let bench = LossBench {
        batch: args.batch,
        weak: args.weak,
        strong: args.strong,
        bank: args.bank,
        dim: args.dim,
        steps: args.steps,
        precision: args.precision,
    };
    print(&bench.run(&device::open(args.device)?)?, args.json)
}

fn run_augment(args: Augment) -> Result<(), Failure> {
    check(&[("--images", args.images), ("--threads", args.threads)], MOST)?;
    device::set_threads(args.threads)?;
    let read = |path: &PathBuf| Ok((path.display().to_string(), clsa_data::Limits::default().read(path)?));
    let files = args.files.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let plan = args.preset.plan();
    let measured = AugmentBench { files, plan, images: args.images }.run().map_err(|error| match error {
        // The request names the files: one that is no image is wrong in it, as it is for `views` and `search`.
        TrainError::Sample(error) => Failure::from(error),
        error => error.into(),
    });
    print(&measured?, args.json)
}

fn run_loader(args: LoaderArgs) -> Result<(), Failure> {
    check(&[("--images", args.images), ("--threads", args.threads), ("--batch", args.batch)], MOST)?;
    let source: Source = args.source.parse()?;
    let dataset = source.open(Split::Train)?;
    if args.batch > dataset.len() {
        let (batch, images) = (args.batch, dataset.len());
        return Err(request(format!("--batch {batch}: {source} has {images} training images; use at most as many")));
    }
    let (plan, threads, batch, images) = (args.preset.plan(), args.threads, args.batch, args.images);
    print(&LoaderBench { dataset, plan, threads, batch, images }.run()?, args.json)
}

fn run_ranks(args: RanksArgs) -> Result<(), Failure> {
    check(&[("--batch", args.batch), ("--steps", args.steps)], MOST)?;
    check(&[("--key", args.key)], MAX_SIDE as usize)?;
    check_numbers(&[("--batch", args.batch), ("--key", args.key), ("--key", args.key)])?;
    let ranks = Ranks::join(DeviceName::Cpu)?;
    let measured = || {
        let model = ModelConfig { arch: args.arch.parse()?, stem: args.stem, ..ModelConfig::default() };
        let bench = RanksBench { model, batch: args.batch, key: args.key, steps: args.steps };
        let times = bench.run(&*ranks.communicator())?;
        if ranks.is_first() { print(&times, args.json) } else { Ok(()) }
    };
    ranks.end(measured())
}

/// The most of anything that is measured.
const MOST: usize = 1 << 24;

/// Checks that options are numbers from 1 to `most`.
fn check(values: &[(&str, usize)], most: usize) -> Result<(), Failure> {
    match values.iter().find(|(_, value)| !(1..=most).contains(value)) {
        Some((name, value)) => Err(request(format!("{name} {value}: use 1 to {most}"))),
        None => Ok(()),
    }
}

/// Checks that so many numbers are not beyond the memory of any machine.
fn check_numbers(factors: &[(&str, usize)]) -> Result<(), Failure> {
    /// 256 GiB in f32.
    const MOST: usize = 1 << 36;
    let numbers = factors.iter().try_fold(1usize, |all, (_, factor)| all.checked_mul(*factor));
    if numbers.is_some_and(|numbers| numbers <= MOST) {
        return Ok(());
    }
    let named: Vec<String> = factors.iter().map(|(name, factor)| format!("{name} {factor}")).collect();
    Err(request(format!("{}: together these are more than {MOST} numbers; use less", named.join(" x "))))
}

fn print(result: &impl serde::Serialize, json: bool) -> Result<(), Failure> {
    let value = serde_json::to_value(result)?;
    match value.as_object() {
        Some(fields) if !json => fields.iter().try_for_each(|(name, value)| put!("{}", line(name, value))),
        _ => put!("{value}"),
    }
}

/// A figure in the column behind the names.
fn line(name: &str, value: &Value) -> String {
    format!("{name:<17} {value}")
}

#[cfg(test)]
mod tests {
    use super::line;
    use serde_json::json;

    #[test]
    fn the_longest_name_is_told_from_its_figure() {
        assert_eq!(line("extra_peak_gpu_mb", &json!(1.5)), "extra_peak_gpu_mb 1.5");
        assert_eq!(line("min_s", &json!(0.25)), "min_s             0.25");
    }
}
