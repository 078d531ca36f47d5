//! Rectangles of an image, and torchvision's random one.

use rand::{Rng, RngExt};

use crate::AugmentError;
use crate::random::uniform;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Crop {
    /// Checks that the crop has pixels and lies inside an image of `width` × `height`.
    pub(crate) fn check(&self, width: u32, height: u32) -> Result<(), AugmentError> {
        let inside = |start: u32, length: u32, limit: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= limit)
        };
        if inside(self.x, self.width, width) && inside(self.y, self.height, height) {
            return Ok(());
        }
        Err(AugmentError::CropOutside {
            x: self.x,
            y: self.y,
            crop_width: self.width,
            crop_height: self.height,
            width,
            height,
        })
    }
}

/// The crop of torchvision's `RandomResizedCrop`: an area and an aspect ratio (uniform in its logarithm) are drawn up
/// to ten times until they fit; failing that, the largest central crop within the ratio's range.
///
/// `scale` is the range of the crop's area as a fraction of the image's, `ratio` that of its width over its height.
///
/// # Examples
/// ```
/// use clsa_augment::{ViewId, random_crop};
///
/// let mut rng = ViewId { seed: 0, epoch: 0, sample: 17, view: 0 }.rng();
/// let crop = random_crop(500, 375, (0.2, 1.0), (3.0 / 4.0, 4.0 / 3.0), &mut rng);
/// assert!(crop.x + crop.width <= 500 && crop.y + crop.height <= 375);
/// ```
pub fn random_crop(width: u32, height: u32, scale: (f64, f64), ratio: (f64, f64), rng: &mut impl Rng) -> Crop {
    let area = f64::from(width) * f64::from(height);
    let log_ratio = (ratio.0.ln(), ratio.1.ln());
    for _ in 0..10 {
        let target = area * uniform(scale.0, scale.1, rng);
        let aspect = uniform(log_ratio.0, log_ratio.1, rng).exp();
        let w = (target * aspect).sqrt().round_ties_even() as u32;
        let h = (target / aspect).sqrt().round_ties_even() as u32;
        if 0 < w && w <= width && 0 < h && h <= height {
            let y = rng.random_range(0..=height - h);
            let x = rng.random_range(0..=width - w);
            return Crop { x, y, width: w, height: h };
        }
    }
    let image_ratio = f64::from(width) / f64::from(height);
    let (w, h) = if image_ratio < ratio.0 {
        (width, (f64::from(width) / ratio.0).round_ties_even() as u32)
    } else if image_ratio > ratio.1 {
        ((f64::from(height) * ratio.1).round_ties_even() as u32, height)
    } else {
        (width, height)
    };
    // Rounding must not empty the crop or carry it over the edge.
    let (w, h) = (w.max(1).min(width), h.max(1).min(height));
    Crop { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h }
}
