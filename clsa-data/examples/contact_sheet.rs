//! Writes a picture with the first samples of a source, one column per class where it has labels.
//!
//! `cargo run --release -p clsa-data --example contact_sheet -- procedural sheet.png [ROWS] [CELL]`

use clsa_data::{Source, Split};
use image::{RgbImage, imageops};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let source: Source = arguments.next().unwrap_or("procedural".into()).parse()?;
    let out = arguments.next().unwrap_or("contact_sheet.png".into());
    let rows: u32 = arguments.next().map_or(Ok(6), |text| text.parse())?;
    let cell: u32 = arguments.next().map_or(Ok(64), |text| text.parse())?;
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
