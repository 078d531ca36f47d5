//! `clsa embed`.

use crate::collection::{Collection, CollectionArgs};
use crate::device::ComputeArgs;
use crate::failure::{Failure, request};
use crate::output;
use crate::progress::Progress;
use crate::streams::put;
use crate::subject::EncoderArgs;
use clsa_eval::embeddings::{self, EmbeddingFormat, Embeddings};
use clsa_eval::features::FeatureRows;
use std::path::PathBuf;

/// Write the features of images to a file, a row for each image.
///
/// The file's ending sets its format: .npy or .safetensors (names and labels in text files beside it), .parquet or .csv. After an
/// interruption the same command goes on from there; features that `clsa eval` has made are reused.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa embed --out features.npy
  clsa embed --run runs/demo --data flat:/data/photographs --out photographs.parquet
  clsa embed --weights resnet50.pth --data imagefolder:/data/imagenet --split test --out val.npy --stage layer3")]
pub struct Args {
    #[command(flatten)]
    encoder: EncoderArgs,
    #[command(flatten)]
    collection: CollectionArgs,
    /// The new file: .npy, .parquet, .csv or .safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Writes over FILE where it exists, and over the text files beside it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = args.compute.open()?;
    let named = args.out.display();
    let Some(format) = EmbeddingFormat::of(&args.out) else {
        let endings = EmbeddingFormat::ALL.map(|format| format!(".{}", format.extension())).join(", ");
        return Err(request(format!("--out {named}: let the name end in one of {endings}")));
    };
    if format == EmbeddingFormat::Parquet && !cfg!(feature = "parquet") {
        return Err(request(format!("--out {named}: this build has no Parquet; use another form")));
    }
    output::check("--out", &args.out)?;
    if args.out.exists() && !args.force {
        return Err(request(format!("--out {named}: exists already; --force writes over it")));
    }
    if let Some(beside) = format.side_files(&args.out).iter().find(|file| file.exists() && !args.force) {
        let beside = beside.display();
        return Err(request(format!("--out {named}: {beside} beside it exists already; --force writes over both")));
    }
    let mut outputs = format.side_files(&args.out);
    for side in &outputs {
        output::check("--out", side)?;
    }
    outputs.push(args.out.clone());
    let subject = args.collection.subject(&args.encoder)?;
    let Collection { images, features, source, .. } = Collection::of(subject, &args.collection, &outputs, &device)?;
    let writing = Progress::new(named.to_string(), "rows");
    let written = Embeddings { rows: &features, images: images.as_ref() };
    embeddings::write(&written, &args.out, format, &|done, of| writing.at(done, of))?;
    drop(writing);
    put!("{named}: {} features of {} values, of {source}", features.len(), features.dim())
}
