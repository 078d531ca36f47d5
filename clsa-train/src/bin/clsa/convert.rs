//! `clsa convert`.

use crate::failure::{Failure, request};
use crate::foreign_head;
use crate::model_name::model_name;
use crate::output;
use crate::part::Part;
use crate::streams::put;
use crate::weight_path::weight_file;
use anyhow::Context;
use clap::ValueEnum;
use clsa_model::weights::{self, Format};
use std::path::PathBuf;

/// Convert weights to safetensors, PyTorch or Detectron2.
///
/// IN is a torchvision state dictionary, a checkpoint of MoCo or of the official CLSA code (.pth, .pth.tar),
/// a .safetensors file, a checkpoint of a run, a run's folder, which means its newest checkpoint, or a folder of timm or
/// transformers. Nothing in a PyTorch file is run.
#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa convert moco_v2_800ep_pretrain.pth.tar backbone.pkl --to detectron2")]
pub struct Args {
    /// The weights
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The new file: .safetensors, .pth, or .pkl for Detectron2
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The format [default: the one that OUT's ending means]
    #[arg(long)]
    to: Option<Target>,
    /// Which encoder of a checkpoint
    #[arg(long, default_value = "query")]
    encoder: Part,
    /// Write over OUT where it exists
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// torchvision's names, for any reader of safetensors
    Safetensors,
    /// torchvision's names, for torch.load(weights_only=True)
    Pth,
    /// The backbone by Detectron2's names, for MODEL.WEIGHTS
    Detectron2,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let format = format(&args)?;
    check_output(&args)?;
    let input = weight_file(&args.input)?;
    let named = || input.display().to_string();
    let weights = weights::read(&input)?;
    let tensors = args.encoder.tensors(&weights, &input)?;
    let config = weights::check(tensors).with_context(named)?;
    foreign_head::note(&input, &weights);
    weights::write(&args.output, tensors, format)?;
    put!("{}: {} for {}", args.output.display(), model_name(&config), format.reader())
}

/// The format asked for, or that of OUT's ending.
fn format(args: &Args) -> Result<Format, Failure> {
    let ending = args.output.extension().unwrap_or_default().to_string_lossy();
    let implied = Format::ALL.into_iter().find(|format| format.extension() == ending);
    let asked = args.to.map(|target| match target {
        Target::Safetensors => Format::Safetensors,
        Target::Pth => Format::Pth,
        Target::Detectron2 => Format::Detectron2,
    });
    let out = args.output.display();
    match (asked, implied) {
        (None, Some(format)) => Ok(format),
        (Some(asked), Some(implied)) if asked == implied => Ok(asked),
        (Some(asked), _) => {
            let (name, ending) = (asked.name(), asked.extension());
            Err(request(format!("{out}: --to {name} writes a .{ending} file; let the name end so")))
        }
        (None, None) => Err(request(format!("{out}: let the name end in .safetensors, .pth, or .pkl for Detectron2"))),
    }
}

/// What can be known of OUT before the work.
fn check_output(args: &Args) -> Result<(), Failure> {
    output::check("OUT", &args.output)?;
    if args.output.exists() && !args.force {
        return Err(request(format!("{}: exists already; --force writes over it", args.output.display())));
    }
    Ok(())
}
