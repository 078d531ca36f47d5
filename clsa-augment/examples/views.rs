//! Writes all views of one image as PNG files:
//! `cargo run --release -p clsa-augment --example views -- IN OUT_FOLDER [SEED]`

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Parser;
use clsa_augment::{Augmenter, SampleId, ViewPlan};
use clsa_data::Limits;

/// Writes the eleven views of CLSA-Multi of an image as PNG files and prints the operations that make each.
#[derive(Parser)]
struct Arguments {
    /// Image to read.
    input: PathBuf,
    /// Folder for the files; it is made where there is none.
    folder: PathBuf,
    /// Seed of the random choices.
    #[arg(default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { input, folder, seed } = Arguments::parse();
    let image = clsa_data::decode_file(&input, &Limits::default())?;
    std::fs::create_dir_all(&folder)?;
    let plan = ViewPlan::multi();
    let id = SampleId { seed, epoch: 0, sample: 0 };
    let pictures = Augmenter::new().views(&image, &plan, id)?;
    for (picture, (id, view)) in pictures.into_iter().zip(id.views(&plan)) {
        let kind = match id.view as usize {
            0 => "key",
            i if i <= plan.weak.len() => "weak",
            _ => "strong",
        };
        let path = folder.join(format!("{:02}-{kind}-{}.png", id.view, view.size));
        picture.save(&path)?;
        let ops = view.draw(image.width(), image.height(), id)?;
        let ops: Vec<String> = ops.iter().map(ToString::to_string).collect();
        writeln!(stdout(), "{}: {}", path.display(), ops.join(" "))?;
    }
    Ok(())
}
