//! A labelled picture of the views of an image.

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage, imageops};

/// Space around each picture, pixels.
const MARGIN: u32 = 8;
/// Height of a line of text with its space, pixels.
const LINE: u32 = 14;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([32, 32, 32]);

/// The original on the left, then one row for each draw: each picture with its label above it.
pub fn grid(original: &RgbImage, rows: &[Vec<(String, RgbImage)>]) -> RgbImage {
    let tallest = |row: &Vec<(String, RgbImage)>| row.iter().map(|(_, p)| p.height()).max().unwrap_or(0);
    let height = |row: &Vec<(String, RgbImage)>| tallest(row) + LINE + MARGIN;
    let widths: Vec<u32> = (0..rows.iter().map(Vec::len).max().unwrap_or(0))
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|(label, picture)| picture.width().max(8 * label.chars().count() as u32)).max().unwrap_or(0)
        })
        .collect();
    // The original is shown no taller than the first two rows of views.
    let room = rows.iter().take(2).map(height).sum::<u32>().saturating_sub(LINE + MARGIN).max(64);
    let scale = (f64::from(room) / f64::from(original.height())).min(1.0);
    let shown = imageops::resize(
        original,
        ((f64::from(original.width()) * scale) as u32).max(1),
        ((f64::from(original.height()) * scale) as u32).max(1),
        imageops::FilterType::Triangle,
    );
    let first = MARGIN + shown.width().max(64) + MARGIN;
    let width = first + widths.iter().map(|w| w + MARGIN).sum::<u32>();
    let total = MARGIN + rows.iter().map(height).sum::<u32>().max(shown.height() + LINE + MARGIN);
    let mut sheet = RgbImage::from_pixel(width, total, PAPER);
    place(&mut sheet, "original", &shown, MARGIN, MARGIN);
    let mut y = MARGIN;
    for row in rows {
        let mut x = first;
        for ((label, picture), width) in row.iter().zip(&widths) {
            place(&mut sheet, label, picture, x, y);
            x += width + MARGIN;
        }
        y += height(row);
    }
    sheet
}

fn place(sheet: &mut RgbImage, label: &str, picture: &RgbImage, x: u32, y: u32) {
    for (i, letter) in label.chars().enumerate() {
        let glyph = font8x8::BASIC_FONTS.get(letter).unwrap_or_default();
        for (dy, bits) in glyph.iter().enumerate() {
            for dx in (0..8).filter(|dx| bits >> dx & 1 == 1) {
                let (px, py) = (x + 8 * i as u32 + dx, y + dy as u32);
                if px < sheet.width() && py < sheet.height() {
                    sheet.put_pixel(px, py, INK);
                }
            }
        }
    }
    imageops::replace(sheet, picture, i64::from(x), i64::from(y + LINE));
}
