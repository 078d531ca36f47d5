//! `clsa views`.

use crate::failure::{Failure, request};
use crate::streams::put;
use crate::view_grid::{Labeled, grid};
use crate::{output, pretrain};
use anyhow::Context;
use clsa_augment::{Augmenter, SampleId};
use std::path::PathBuf;

/// Draw the key, weak and strong views of an image, labeled, as one picture.
#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa views photo.jpg --preset imagenet-multi-200 --seed 1 --out grid.png")]
pub struct Args {
    /// The image
    image: PathBuf,
    /// A preset or a .toml file
    #[arg(long, default_value = "imagenet-single-200")]
    preset: String,
    /// Changes a configuration key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Seed of the views
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many times the views are drawn, a row each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    rows: u64,
    /// The picture
    #[arg(long, default_value = "views.png")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    output::check("--out", &args.out)?;
    output::check_is_no_input("--out", &args.out, std::slice::from_ref(&args.image))?;
    let out = args.out.display();
    let format = match image::ImageFormat::from_path(&args.out) {
        Ok(format @ (image::ImageFormat::Png | image::ImageFormat::Jpeg)) => format,
        Ok(_) | Err(_) => return Err(request(format!("--out {out}: name a .png or .jpg file"))),
    };
    let config = pretrain::load(&args.preset, &args.overrides)?;
    config.validate()?;
    let image = clsa_data::decode_file(&args.image, &clsa_data::Limits::default())?;
    let plan = &config.views;
    let names = ["key".to_owned()].into_iter();
    let names = names.chain((0..plan.weak.len()).map(|i| format!("weak {i}")));
    let names: Vec<String> = names.chain((0..plan.strong.len()).map(|i| format!("strong {i}"))).collect();
    let mut augmenter = Augmenter::new();
    let mut rows = Vec::new();
    for epoch in 0..args.rows {
        let id = SampleId { seed: args.seed, epoch, sample: 0 };
        let pictures = augmenter.views(&image, plan, id)?;
        let labels = plan.views().zip(&names).map(|(view, name)| format!("{name} {}px", view.size));
        rows.push(labels.zip(pictures).map(|(label, picture)| Labeled { label, picture }).collect());
    }
    let picture = grid(&image, &rows);
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).with_context(|| out.to_string())?;
    clsa_files::write_whole(&args.out, bytes.get_ref()).with_context(|| out.to_string())?;
    put!("{out}")
}
