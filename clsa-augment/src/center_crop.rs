use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::plan::Normalize;
use crate::{AugmentError, Augmenter, Crop, Layout, Op};

/// The evaluation transform: torchvision `Resize(resize)` of the shorter side, then `CenterCrop(crop)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CenterCrop {
    /// Length that the shorter side is resized to, in pixels (Pillow bilinear, antialiased).
    pub resize: u32,
    /// Side of the square that is cut from the middle, in pixels; at most `resize`.
    pub crop: u32,
    /// Mean and standard deviation of the values that are written to a buffer.
    pub normalize: Normalize,
}

impl Default for CenterCrop {
    fn default() -> Self {
        Self::new(256, 224)
    }
}

impl CenterCrop {
    /// With ImageNet's mean and standard deviation.
    pub fn new(resize: u32, crop: u32) -> Self {
        Self { resize, crop, normalize: Normalize::default() }
    }

    /// Number of values that [`CenterCrop::write`] fills: `3 · crop · crop`.
    pub fn values(&self) -> usize {
        3 * self.crop as usize * self.crop as usize
    }

    /// The operations for an image of `width` × `height` pixels.
    ///
    /// # Errors
    /// If the image has no pixels or is too narrow to be resized, or if the crop is larger than the resized image.
    pub fn ops(&self, width: u32, height: u32) -> Result<[Op; 2], AugmentError> {
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        let long = |long: u32, short: u32| {
            u32::try_from(u64::from(self.resize) * u64::from(long) / u64::from(short)).unwrap_or(u32::MAX)
        };
        let (new_width, new_height) =
            if width <= height { (self.resize, long(height, width)) } else { (long(width, height), self.resize) };
        if self.crop == 0 || self.crop > self.resize {
            let (target_width, target_height) = (self.crop, self.crop);
            return Err(AugmentError::Size { width: new_width, height: new_height, target_width, target_height });
        }
        let whole = Crop { x: 0, y: 0, width, height };
        let offset = |side: u32| (f64::from(side - self.crop) / 2.0).round_ties_even() as u32;
        let center = Crop { x: offset(new_width), y: offset(new_height), width: self.crop, height: self.crop };
        Ok([
            Op::CropResize { crop: whole, width: new_width, height: new_height },
            Op::CropResize { crop: center, width: self.crop, height: self.crop },
        ])
    }

    /// The transformed image.
    ///
    /// # Errors
    /// As [`CenterCrop::ops`].
    pub fn image(&self, augmenter: &mut Augmenter, image: &RgbImage) -> Result<RgbImage, AugmentError> {
        augmenter.apply(image, &self.ops(image.width(), image.height())?)
    }

    /// Writes the transformed image, normalised, to `out`, which has [`CenterCrop::values`] elements.
    ///
    /// # Errors
    /// As [`CenterCrop::ops`], and if `out` has the wrong length.
    pub fn write(
        &self,
        augmenter: &mut Augmenter,
        image: &RgbImage,
        layout: Layout,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        augmenter.apply_into(image, &self.ops(image.width(), image.height())?, &self.normalize, layout, out)
    }
}
