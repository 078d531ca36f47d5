//! `clsa search`.

use crate::collection::{Collection, CollectionArgs};
use crate::device::ComputeArgs;
use crate::failure::{Failure, request};
use crate::output;
use crate::streams::{put, say};
use crate::subject::EncoderArgs;
use clsa_data::{Dataset, Label, Limits, SampleError, image::RgbImage};
use clsa_eval::features::{Features, class_names_of, extract_into, unusable};
use clsa_eval::protocols::{MOST_PICTURED, Retrieved, retrieval_picture};
use clsa_eval::{EvalError, nearest};
use serde_json::json;
use std::path::PathBuf;

/// Find the images of a collection that are nearest to given ones.
///
/// Prints a JSON object for each image that is found, nearest first, and draws a picture: a row for each given image. Nearness is the
/// cosine of the features. The features of the collection are made once and kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa search cat.jpg
  clsa search --run runs/photographs --data flat:/data/photographs --neighbors 5 cat.jpg dog.jpg
  clsa search --weights resnet50.pth --data imagefolder:/data/imagenet --out cats.png cat.jpg | jq -r .image")]
pub struct Args {
    /// The images to search by
    #[arg(required = true, value_name = "IMAGE")]
    queries: Vec<PathBuf>,
    #[command(flatten)]
    encoder: EncoderArgs,
    #[command(flatten)]
    collection: CollectionArgs,
    /// Images that are found for each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    neighbors: u64,
    /// The picture
    #[arg(long, value_name = "FILE.png", default_value = "search.png")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = args.compute.open()?;
    output::check("--out", &args.out)?;
    output::check_ending("--out", &args.out, "png")?;
    output::check_is_no_input("--out", &args.out, &args.queries)?;
    let neighbors = usize::try_from(args.neighbors).unwrap_or(usize::MAX);
    if neighbors.saturating_add(1).saturating_mul(args.queries.len()) > MOST_PICTURED {
        return Err(request(format!(
            "--neighbors {neighbors}: the picture would hold more than {MOST_PICTURED} images; ask for fewer"
        )));
    }
    // Before the work on the collection.
    let queries = Queries::read(&args.queries)?;
    let every: Vec<usize> = (0..queries.len()).collect();
    let subject = args.collection.subject(&args.encoder)?;
    if let Some((_, reason)) = unusable(&queries, &every, &subject.transform, || ())?.into_iter().next() {
        return Err(reason.into());
    }
    let collection = Collection::of(subject, &args.collection, std::slice::from_ref(&args.out), &device)?;
    let Collection { subject, images, encoder, features, .. } = &collection;
    let mut values = Vec::new();
    extract_into(encoder, &queries, &every, &subject.transform, 1, &mut |rows| {
        values.extend_from_slice(rows);
        Ok(())
    })?;
    let query_features = Features { values, dim: encoder.feature_dim(), labels: vec![0; queries.len()] };
    let found = nearest(features, &query_features, neighbors.min(images.len()))?;

    let mut lines = Vec::new();
    let mut retrieved = Vec::new();
    for (query, found) in found.iter().enumerate() {
        for (rank, neighbor) in found.iter().enumerate() {
            let index = neighbor.index as usize;
            let label = class_names_of(images.as_ref(), index).map(|names| names.join(";"));
            lines.push(json!({
                "query": queries.name(query),
                "rank": rank + 1,
                "image": images.name(index),
                "label": label,
                "similarity": neighbor.similarity,
            }));
        }
        let neighbors = found.iter().map(|neighbor| neighbor.index as usize).collect();
        retrieved.push(Retrieved { query, neighbors });
    }
    let failed = |source| EvalError::Io { path: args.out.clone(), source };
    let drawn = retrieval_picture(images.as_ref(), Some(&queries), &retrieved)
        .and_then(|picture| clsa_files::write_whole(&args.out, &picture).map_err(failed));
    if drawn.is_ok() {
        say!("written: {}", args.out.display());
    }
    // What was found is told also where it cannot be drawn.
    let printed = lines.iter().try_for_each(|line| put!("{line}"));
    drawn.map_err(Failure::from).and(printed)
}

/// The images that are searched by.
struct Queries {
    names: Vec<String>,
    images: Vec<RgbImage>,
}

impl Queries {
    fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut queries = Self { names: Vec::new(), images: Vec::new() };
        for path in paths {
            let name = path.display().to_string();
            if path.is_dir() {
                return Err(request(format!("{name}: this is a folder; name images")));
            }
            queries.images.push(clsa_data::decode_file(path, &Limits::default())?);
            queries.names.push(name);
        }
        Ok(queries)
    }
}

impl Dataset for Queries {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn label(&self, _: usize) -> Label {
        Label::None
    }

    fn image(&self, index: usize) -> Result<RgbImage, SampleError> {
        Ok(self.images[index].clone())
    }

    fn dimensions(&self, index: usize) -> Result<(u32, u32), SampleError> {
        Ok(self.images[index].dimensions())
    }

    fn name(&self, index: usize) -> String {
        self.names[index].clone()
    }
}
