//! The evaluation transform.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::check::field;
use crate::limits::MAX_SIDE;
use crate::{AugmentError, Augmenter, Crop, Layout, Normalize, Op};

/// The evaluation transform: torchvision `Resize(resize)` of the shorter side, then `CenterCrop(crop)`.
///
/// # Examples
/// ```
/// use clsa_augment::{Augmenter, CenterCrop, Layout, Normalize};
///
/// let image = image::RgbImage::from_pixel(500, 375, image::Rgb([90, 120, 30]));
/// let transform = CenterCrop { normalize: Normalize::NONE, ..CenterCrop::new(256, 224) };
/// let mut values = vec![0.0; transform.values()];
/// transform.write(&mut Augmenter::new(), &image, Layout::ChannelsFirst, &mut values)?;
/// assert_eq!((values.len(), values[0]), (3 * 224 * 224, 90.0 / 255.0));
/// # Ok::<(), clsa_augment::AugmentError>(())
/// ```
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

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `crop`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        field((1..=MAX_SIDE).contains(&self.resize), "resize", &self.resize, "from 1 to 16384 pixels")?;
        field((1..=self.resize).contains(&self.crop), "crop", &self.crop, "at least 1 pixel and at most `resize`")?;
        self.normalize.validate().map_err(|error| error.within("normalize"))
    }

    /// The operations for an image of `width` × `height` pixels.
    ///
    /// # Errors
    /// If the image has no pixels or would be too long when resized, and as [`CenterCrop::validate`].
    pub fn ops(&self, width: u32, height: u32) -> Result<[Op; 2], AugmentError> {
        self.validate()?;
        if width == 0 || height == 0 {
            return Err(AugmentError::EmptyImage { width, height });
        }
        let long = |long: u32, short: u32| {
            u32::try_from(u64::from(self.resize) * u64::from(long) / u64::from(short)).unwrap_or(u32::MAX)
        };
        let (new_width, new_height) =
            if width <= height { (self.resize, long(height, width)) } else { (long(width, height), self.resize) };
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

    /// Writes the transformed image, normalized, to `out`, which has [`CenterCrop::values`] elements.
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
