//! Writes a picture with the first samples of a source, one column per class where it has labels.
//!
//! `cargo run --release -p clsa-data --example contact_sheet -- procedural --out sheet.png`

use clap::Parser;
use clsa_data::{Source, Split};
use image::{RgbImage, imageops};

#[derive(Parser)]
struct Args {
    /// Where the images come from, as KIND:PATH
    #[arg(default_value = "procedural")]
    source: Source,
    /// The picture
    #[arg(long, default_value = "contact_sheet.png")]
    out: String,
    /// Images of each class
    #[arg(long, default_value_t = 6)]
    rows: u32,
    /// Side of an image in the picture, pixels
    #[arg(long, default_value_t = 64)]
    cell: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { source, out, rows, cell } = Args::parse();
    let dataset = source.open(Split::Train)?;
    let columns = dataset.class_names().len().clamp(1, 16);
    let mut sheet = RgbImage::new((cell + 2) * columns as u32, (cell + 2) * rows);
    let mut filled = vec![0; columns];
    for index in 0..dataset.len() {
        let column = dataset.label(index).class().map_or(0, |class| class as usize);
        if column >= columns || filled[column] >= rows {
            continue;
        }
        let image = imageops::resize(&dataset.image(index)?, cell, cell, imageops::FilterType::Nearest);
        let (x, y) = (column as u32 * (cell + 2), filled[column] * (cell + 2));
        imageops::replace(&mut sheet, &image, x.into(), y.into());
        filled[column] += 1;
        if filled.iter().all(|&filled| filled == rows) {
            break;
        }
    }
    sheet.save(&out)?;
    println!("{out}: {}", dataset.class_names().join(", "));
    Ok(())
}
