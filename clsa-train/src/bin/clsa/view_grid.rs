//! A labeled picture of the views of an image.

use ab_glyph::{FontRef, PxScale};
use image::{Rgb, RgbImage, imageops};
use imageproc::drawing::{draw_hollow_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect;

/// Space around each picture, pixels.
const MARGIN: u32 = 8;
/// Height of a line of text with its space, pixels.
const LINE: u32 = 18;
/// Height of the letters, pixels.
const LETTERS: PxScale = PxScale { x: 14.0, y: 14.0 };
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([32, 32, 32]);
const FRAME: Rgb<u8> = Rgb([208, 208, 208]);

/// A picture and the label above it.
pub struct Labeled {
    pub label: String,
    pub picture: RgbImage,
}

/// The original on the left, then one row for each draw: each picture with its label above it.
pub fn grid(original: &RgbImage, rows: &[Vec<Labeled>]) -> RgbImage {
    let font = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR).expect("the font is part of the program");
    let height = |row: &Vec<Labeled>| row.iter().map(|cell| cell.picture.height()).max().unwrap_or(0) + LINE + MARGIN;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<u32> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.picture.width().max(text_size(LETTERS, &font, &cell.label).0)).max().unwrap_or(0)
        })
        .collect();
    // The original is shown no taller than the first two rows of views.
    let room = rows.iter().take(2).map(height).sum::<u32>().saturating_sub(LINE + MARGIN).max(64);
    let scale = (f64::from(room) / f64::from(original.height())).min(1.0);
    let scaled = |side: u32| ((f64::from(side) * scale) as u32).max(1);
    let (width, shown_height) = (scaled(original.width()), scaled(original.height()));
    let picture = imageops::resize(original, width, shown_height, imageops::FilterType::Triangle);
    let original = Labeled { label: "original".to_owned(), picture };
    let first = MARGIN + width.max(text_size(LETTERS, &font, &original.label).0) + MARGIN;
    let total_width = first + widths.iter().map(|width| width + MARGIN).sum::<u32>();
    let total_height = MARGIN + rows.iter().map(height).sum::<u32>().max(shown_height + LINE + MARGIN);
    let mut sheet = RgbImage::from_pixel(total_width, total_height, PAPER);
    place(&mut sheet, &font, &original, (MARGIN, MARGIN));
    let mut y = MARGIN;
    for row in rows {
        let mut x = first;
        for (cell, width) in row.iter().zip(&widths) {
            place(&mut sheet, &font, cell, (x, y));
            x += width + MARGIN;
        }
        y += height(row);
    }
    sheet
}

/// Draws the label, and below it the picture in a frame.
fn place(sheet: &mut RgbImage, font: &FontRef<'_>, cell: &Labeled, (x, y): (u32, u32)) {
    draw_text_mut(sheet, INK, x as i32, y as i32, LETTERS, font, &cell.label);
    let (width, height) = cell.picture.dimensions();
    imageops::replace(sheet, &cell.picture, i64::from(x), i64::from(y + LINE));
    let frame = Rect::at(x as i32 - 1, (y + LINE) as i32 - 1).of_size(width + 2, height + 2);
    draw_hollow_rect_mut(sheet, frame, FRAME);
}
