//! The picture of a retrieval: rows of framed images.

use super::retrieved::Retrieved;
use crate::EvalError;
use clsa_augment::{Augmenter, CenterCrop};
use clsa_data::Dataset;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use imageproc::drawing::draw_hollow_rect_mut;
use imageproc::rect::Rect;
use std::io::Cursor;

/// Images that a picture may hold.
pub const MOST_PICTURED: usize = 20_000;
/// Side of a picture's images, pixels.
const SIDE: u32 = 72;
/// Width of a frame, and of the space around it, pixels.
const FRAME: u32 = 3;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const NEUTRAL: Rgb<u8> = Rgb([90, 90, 90]);
const SAME: Rgb<u8> = Rgb([30, 150, 60]);
const OTHER: Rgb<u8> = Rgb([210, 50, 40]);

/// A picture (PNG) of one row for each query: the query in a gray frame, then its neighbors, nearest first, in green
/// frames where they are of its class and red ones where they are of another.
///
/// # Errors
/// An image cannot be read, or the picture would hold more than [`MOST_PICTURED`].
pub fn retrieval_picture(
    train: &dyn Dataset,
    test: Option<&dyn Dataset>,
    retrieved: &[Retrieved],
) -> Result<Vec<u8>, EvalError> {
    let longest = retrieved.iter().map(|row| row.neighbors.len()).max().unwrap_or(0);
    let pictured = retrieved.len().saturating_mul(longest + 1);
    if pictured > MOST_PICTURED {
        let expected = format!("the picture would hold {pictured} images; ask for at most {MOST_PICTURED}");
        return Err(EvalError::setting("queries", retrieved.len(), expected));
    }
    let mut png = Cursor::new(Vec::new());
    let sheet = sheet(train, test, retrieved, longest)?;
    sheet.write_to(&mut png, ImageFormat::Png).expect("an image of pixels is encoded in memory");
    Ok(png.into_inner())
}

/// Rows of up to `longest` neighbors.
fn sheet(
    train: &dyn Dataset,
    test: Option<&dyn Dataset>,
    retrieved: &[Retrieved],
    longest: usize,
) -> Result<RgbImage, EvalError> {
    let among = test.unwrap_or(train);
    let step = SIDE + 4 * FRAME;
    let columns = 1 + longest as u32;
    // Between query and neighbors there is some more room.
    let (width, height) = (columns * step + 4 * FRAME, retrieved.len() as u32 * step);
    let mut sheet = RgbImage::from_pixel(width, height.max(1), PAPER);
    let mut augmenter = Augmenter::new();
    for (row, found) in retrieved.iter().enumerate() {
        let class = among.label(found.query).class();
        let mut place = |dataset: &dyn Dataset, index: usize, x: u32, frame: Rgb<u8>| -> Result<(), EvalError> {
            let image = dataset.image(index)?;
            let image = CenterCrop::new(SIDE, SIDE)
                .image(&mut augmenter, &image)
                .map_err(|source| EvalError::Transform { sample: dataset.name(index), source })?;
            framed(&mut sheet, &image, (x + 2 * FRAME, row as u32 * step + 2 * FRAME), frame);
            Ok(())
        };
        place(among, found.query, 0, NEUTRAL)?;
        for (column, &neighbor) in found.neighbors.iter().enumerate() {
            let frame = match (class, train.label(neighbor).class()) {
                (Some(query), Some(found)) if query == found => SAME,
                (Some(_), Some(_)) => OTHER,
                (None, _) | (_, None) => NEUTRAL,
            };
            place(train, neighbor, (column as u32 + 1) * step + 4 * FRAME, frame)?;
        }
    }
    Ok(sheet)
}

/// Places an image with its left upper corner at `(x, y)`, and draws a frame around it.
fn framed(sheet: &mut RgbImage, image: &RgbImage, (x, y): (u32, u32), color: Rgb<u8>) {
    imageops::replace(sheet, image, i64::from(x), i64::from(y));
    // Lines are one pixel wide: the frame is several rectangles, each around the other.
    for line in 1..=FRAME {
        let rect = Rect::at((x - line) as i32, (y - line) as i32);
        let rect = rect.of_size(image.width() + 2 * line, image.height() + 2 * line);
        draw_hollow_rect_mut(sheet, rect, color);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_data::{Source, Split};

    #[test]
    fn a_picture_of_too_many_images_is_refused_before_any_is_read() {
        let images = "procedural:classes=2,train=4,side=16".parse::<Source>().unwrap().open(Split::Train).unwrap();
        let picture = |queries: usize| {
            let retrieved: Vec<Retrieved> =
                (0..queries).map(|_| Retrieved { query: 0, neighbors: vec![1; 99] }).collect();
            retrieval_picture(images.as_ref(), None, &retrieved)
        };
        let error = picture(201).unwrap_err();
        let expected = "queries is 201: the picture would hold 20100 images; ask for at most 20000";
        assert!(error.is_request() && error.to_string() == expected, "{error}");
        assert_eq!(image::load_from_memory(&picture(2).unwrap()).unwrap().height(), 2 * (SIDE + 4 * FRAME));
    }

    #[test]
    fn a_frame_is_as_wide_as_the_space_around_it_and_leaves_the_image() {
        let mut sheet = RgbImage::from_pixel(20, 20, PAPER);
        framed(&mut sheet, &RgbImage::from_pixel(8, 8, OTHER), (6, 6), SAME);
        let row = |y: u32| -> Vec<Rgb<u8>> { (0..20).map(|x| *sheet.get_pixel(x, y)).collect() };
        let (paper, frame) = (vec![PAPER; 3], vec![SAME; 3]);
        assert_eq!(row(10), [&paper[..], &frame, &[OTHER; 8], &frame, &paper].concat());
        assert_eq!(row(3), [&paper[..], &[SAME; 14], &paper].concat());
        assert_eq!(row(2), [PAPER; 20]);
    }
}
