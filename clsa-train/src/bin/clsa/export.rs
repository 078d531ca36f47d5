//! `clsa export`.

mod card;
mod detectron2;
mod figures;
mod loading;
mod target;
mod timm;
mod training;

use crate::failure::{Failure, request};
use crate::model_name::model_name;
use crate::output;
use crate::part::Part;
use crate::streams::put;
use crate::subject::{EncoderArgs, Subject};
use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use clsa_files::{WholeFolder, is_unfinished};
use clsa_model::{Encoder, head};
use clsa_run::RunFolder;
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use target::Target;

/// Export an encoder for use elsewhere; without --run or --weights that of the newest run in ./runs.
///
/// DIR becomes a folder with the weights and a README.md: what the encoder is, how it was trained, its figures, how images are to be
/// prepared, and the lines of Python that load it. README.md is written last.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa export --to onnx exported/demo
  clsa export --run runs/cifar10 --to onnx exported/cifar10
  clsa export --run runs/imagenet --to detectron2 exported/detection --encoder key
  clsa export --weights moco_v2_800ep_pretrain.pth.tar --to torch exported/moco")]
pub struct Args {
    #[command(flatten)]
    encoder: EncoderArgs,
    /// What the encoder is exported for
    #[arg(long)]
    to: Target,
    /// The new folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Which encoder of a checkpoint
    #[arg(long = "encoder", value_name = "ENCODER", default_value = "query")]
    part: Part,
    /// Write into DIR though it is not empty; files of the same names are replaced
    #[arg(long)]
    force: bool,
}

/// An encoder that is exported.
struct Exported {
    subject: Subject,
    part: Part,
    /// Whether the weights are of two encoders, of which this is one.
    of_two: bool,
    encoder: Encoder,
    /// Backbone, and head where the weights have one, in f32 by torchvision's names.
    tensors: HashMap<String, Tensor>,
}

impl Exported {
    fn load(subject: Subject, part: Part) -> Result<Self, Failure> {
        let (encoder, file) = subject.loaded(part, &Device::Cpu)?;
        let mut tensors = encoder.state_dict()?;
        tensors.retain(|name, _| !head::owns(name));
        let head = part.tensors(&file, &subject.weights)?.iter().filter(|(name, _)| head::owns(name));
        for (name, tensor) in head {
            let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::F32)? } else { tensor.clone() };
            tensors.insert(name.clone(), tensor);
        }
        Ok(Self { subject, part, of_two: file.key.is_some(), encoder, tensors })
    }

    fn backbone(&self) -> HashMap<String, Tensor> {
        let backbone = self.tensors.iter().filter(|(name, _)| !head::owns(name));
        backbone.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    }

    /// The head's tensors, by name; empty where there is none.
    fn head(&self) -> Vec<(&str, &Tensor)> {
        let head = self.tensors.iter().filter(|(name, _)| head::owns(name));
        let mut head: Vec<_> = head.map(|(name, tensor)| (name.as_str(), tensor)).collect();
        head.sort_by_key(|(name, _)| *name);
        head
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    check_folder(&args.folder, args.force)?;
    let subject = Subject::of(&args.encoder, None, [None, None])?;
    args.to.check(&subject.model)?;
    let exported = Exported::load(subject, args.part)?;
    write(&exported, args.to, &args.folder)?;
    put!("{}: {} for {}", args.folder.display(), model_name(&exported.subject.model), args.to.reader())
}

/// Exports the query encoder of a run that has ended into its folder, and returns the folder of the export.
pub fn of_run(run: &RunFolder) -> Result<PathBuf, Failure> {
    let exported = Exported::load(Subject::of_run(run.clone())?, Part::Query)?;
    let folder = run.export();
    write(&exported, Target::Safetensors, &folder)?;
    Ok(folder)
}

/// What can be known of DIR before the work.
fn check_folder(folder: &Path, force: bool) -> Result<(), Failure> {
    let named = folder.display();
    // A link that leads nowhere is no folder either.
    if folder.symlink_metadata().is_ok() && !folder.is_dir() {
        return Err(request(format!("{named}: this is not a folder; name one, or one that is to be made")));
    }
    output::check_folder("DIR", folder)?;
    if !folder.is_dir() {
        return Ok(());
    }
    if RunFolder::at(folder).config_file().is_file() {
        return Err(request(format!(
            "{named}: this is a run; name it by --run, and another folder for what is exported"
        )));
    }
    let entries = fs::read_dir(folder).with_context(|| named.to_string())?;
    // What killed exports have left does not count, and is removed.
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    if !force && names.any(|name| !is_unfinished(&name)) {
        return Err(request(format!("{named}: this folder is not empty; --force writes into it")));
    }
    Ok(())
}

/// Why the folder cannot be made: mostly because another has to be named.
fn not_made(folder: &Path, error: io::Error) -> Failure {
    let named = folder.display();
    match error.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::NotFound => request(format!("{named}: this folder cannot be written ({error}); name another one")),
        _ => anyhow::Error::new(error).context(named.to_string()).into(),
    }
}

/// Writes the folder, which appears whole; in one that is there, README.md comes last.
fn write(exported: &Exported, target: Target, folder: &Path) -> Result<(), Failure> {
    let named = || folder.display().to_string();
    clsa_files::remove_abandoned(folder).with_context(named)?;
    // A new folder is made beside its name, where other people's may not be removable.
    let beside = clsa_files::folder_of(folder);
    let _ = clsa_files::remove_abandoned(beside);
    let whole = WholeFolder::create(folder).map_err(|error| not_made(folder, error))?;
    let at = whole.unfinished();
    target.write(exported, at, folder)?;
    let card = card::card(exported, target, at)?;
    clsa_files::write_whole(&at.join(card::NAME), card.as_bytes()).with_context(named)?;
    whole.commit(card::NAME).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => {
            request(format!("{}: a folder has the name of one of the files; name another folder", folder.display()))
        }
        _ => anyhow::Error::new(error).context(named()).into(),
    })
}
