use rand::{Rng, RngExt};

use crate::plan::{ColorJitter, GaussianBlur, View};
use crate::{AugmentError, Crop, Op, ViewId};

impl View {
    /// Draws everything that is random about this view of an image of `width` × `height` pixels: the operations, with
    /// their arguments, that make it. The first is [`Op::CropResize`].
    ///
    /// # Errors
    /// [`AugmentError::EmptyImage`] if the image has no pixels, [`AugmentError::Plan`] as in [`View::validate`].
    pub fn draw(&self, width: u32, height: u32, id: ViewId) -> Result<Vec<Op>, AugmentError> {
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        self.validate("view")?;
        let rng = &mut id.rng();
        let mut ops = Vec::with_capacity(16);
        let crop = random_crop(width, height, self.scale, self.ratio, rng);
        ops.push(Op::CropResize { crop, width: self.size, height: self.size });
        if let Some(jitter) = &self.jitter {
            jitter.draw(rng, &mut ops);
        }
        if chance(self.grayscale, rng) {
            ops.push(Op::Grayscale);
        }
        if let Some(blur) = &self.blur {
            blur.draw(rng, &mut ops);
        }
        if chance(self.flip, rng) {
            ops.push(Op::FlipHorizontal);
        }
        if let Some(strong) = &self.strong {
            strong.draw(self.size, rng, &mut ops);
        }
        Ok(ops)
    }
}

impl ColorJitter {
    /// Draws whether and how a view is jittered and appends the operations to `ops`.
    pub fn draw(&self, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if !chance(self.probability, rng) {
            return;
        }
        // The order is a uniform permutation of four (Fisher and Yates).
        let mut order = [0, 1, 2, 3];
        for last in (1..4).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        let mut factor = |strength: f64| uniform((1.0 - strength).max(0.0), 1.0 + strength, rng);
        let factors = [factor(self.brightness), factor(self.contrast), factor(self.saturation)];
        let hue = uniform(-self.hue, self.hue, rng);
        for which in order {
            match which {
                0 if self.brightness > 0.0 => ops.push(Op::Brightness(factors[0])),
                1 if self.contrast > 0.0 => ops.push(Op::Contrast(factors[1])),
                2 if self.saturation > 0.0 => ops.push(Op::Color(factors[2])),
                3 if self.hue > 0.0 => ops.push(Op::Hue(hue)),
                _ => {}
            }
        }
    }
}

impl GaussianBlur {
    /// Draws whether and how much a view is blurred and appends the operation to `ops`.
    pub fn draw(&self, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if chance(self.probability, rng) {
            ops.push(Op::GaussianBlur(uniform(self.sigma.0, self.sigma.1, rng)));
        }
    }
}

/// True with this probability.
pub(crate) fn chance(probability: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < probability
}

fn uniform(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// The crop of torchvision's `RandomResizedCrop`: an area and an aspect ratio (uniform in its logarithm) are drawn up
/// to ten times until they fit; failing that, the largest central crop within the ratio's range.
///
/// `scale` is the range of the crop's area as a fraction of the image's, `ratio` that of its width over its height.
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
