//! What `clsa pretrain` can be asked for.

use crate::device::{self, DeviceName};
use clsa_data::SourceKind;
use clsa_run::Preset;
use std::path::PathBuf;

/// Pretrain an encoder with CLSA.
///
/// Without arguments: the preset `demo`, which generates its own images and takes three to seven minutes on two cores.
///
/// Ctrl-C or SIGTERM ends it after its step, with a checkpoint. Where mpirun has started it, send SIGTERM to one of the ranks: mpirun
/// passes one of its own on, and kills all of them a second later or sooner, where a step may take longer.
#[derive(clap::Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  clsa pretrain
  clsa pretrain --preset cifar10 --data imagefolder:/data/cifar10 --epochs 100 --set optim.lr=0.06
  clsa pretrain --preset imagenet-multi-200 --data imagefolder:/data/imagenet --device cuda:0
  clsa pretrain --preset imagenet-single-200 --data imagefolder:/data/imagenet --init resnet50.pth
  clsa pretrain --resume runs/demo-20260101-120000
  mpirun -n 4 --bind-to none clsa pretrain --preset photos --data flat:photos --batch-size 64
  clsa pretrain --preset imagenet-single-200 --data imagefolder:/data/imagenet --device cuda --ranks 8 \\
      --batch-size 32 --set compute.bn_splits=1")]
pub struct Args {
    #[arg(long, conflicts_with = "resume")]
    #[arg(help = format!("A preset ({}) or a .toml file [default: demo, or the settings of the run that --init names]", Preset::names()))]
    pub preset: Option<String>,
    #[arg(long, value_name = "SOURCE", help = format!("Where the images are: {}", SourceKind::forms()))]
    pub data: Option<String>,
    /// Changes a configuration key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Passes over the data
    #[arg(long)]
    pub epochs: Option<u64>,
    /// Stops after this epoch of the schedule; --resume with a later one goes on, and with 0 goes on to the end
    #[arg(long, value_name = "EPOCH")]
    pub until_epoch: Option<u64>,
    /// Images per step, on each rank where several share the work
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Seed of weights, order and views, below 2^63
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Begins with weights: a file of PyTorch or safetensors, a checkpoint, a folder of timm or transformers, or a run, whose settings are
    /// then the default; another architecture is refused, a head or bank that does not fit begins anew, and a missing key encoder is a
    /// copy of the query encoder
    #[arg(long, value_name = "WEIGHTS", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// The run's folder [default: runs/PRESET-TIME]
    #[arg(long, conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continues a run: from its newest checkpoint, with the settings of config.toml, or from the named checkpoint, with the settings in
    /// it; --set, --epochs and --data change them
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    pub resume: Option<PathBuf>,
    /// With --resume: goes on even if the images are not those that the run was trained on
    #[arg(long, requires = "resume")]
    pub other_images: bool,
    /// Threads that compute [default: one for each core, or for each of a rank's share of them]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    pub threads: usize,
    /// Starts one process for each of N GPUs of this machine, which share every step; needs --device cuda
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub ranks: Option<u8>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
    /// Whether this is a training of another command, by which it goes on.
    #[arg(skip)]
    pub is_of_another_command: bool,
}
