//! Draws a picture under every corruption, one row for each, with the severities from left to right:
//! `cargo run --release -p clsa-augment --example corruptions -- IN OUT.png [SIDE]`

use std::error::Error;
use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Parser;
use clsa_augment::{Augmenter, CenterCrop, Corruption};
use clsa_data::Limits;
use image::RgbImage;
use image::imageops::replace;

/// Draws an image under every corruption, one row for each, with the severities from left to right, and prints the rows' names.
#[derive(Parser)]
struct Arguments {
    /// Image to read.
    input: PathBuf,
    /// File of the sheet.
    output: PathBuf,
    /// Side of the square that is cut from the middle of the image, and corrupted.
    #[arg(default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..=1024))]
    side: u32,
    /// Seed of the random draws.
    #[arg(default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { input, output, side, seed } = Arguments::parse();
    let image = CenterCrop::new(side, side)
        .image(&mut Augmenter::new(), &clsa_data::decode_file(&input, &Limits::default())?)?;
    let mut sheet = RgbImage::new(side * Corruption::SEVERITIES.len() as u32, side * Corruption::ALL.len() as u32);
    for (row, corruption) in (0..).zip(Corruption::ALL) {
        writeln!(stdout(), "{corruption} ({})", corruption.group())?;
        for (column, severity) in (0..).zip(Corruption::SEVERITIES) {
            let corrupted = corruption.apply(&image, severity, seed)?;
            replace(&mut sheet, &corrupted, i64::from(side) * column, i64::from(side) * row);
        }
    }
    sheet.save(output)?;
    Ok(())
}
