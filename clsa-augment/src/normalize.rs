//! How 8-bit values become the numbers that an encoder is given.

use serde::{Deserialize, Serialize};

use crate::AugmentError;
use crate::check::field;

/// Mean and standard deviation by channel (red, green, blue) of pixel values in [0, 1]: torchvision's `Normalize`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Subtracted from the value.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
}

impl Normalize {
    /// Statistics of ImageNet's training images, as torchvision's models expect them.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// Leaves the values in [0, 1].
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `std`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        let Self { mean, std } = self;
        field(mean.iter().all(|m| m.is_finite()), "mean", mean, "three finite numbers")?;
        field(std.iter().all(|s| s.is_finite() && *s > 0.0), "std", std, "three numbers above 0")
    }

    /// What each byte of each channel becomes: for a device that is given bytes, with the bits of what is written in f32.
    ///
    /// # Examples
    /// ```
    /// let tables = clsa_augment::Normalize::NONE.tables();
    /// assert_eq!((tables[0][0], tables[2][255]), (0.0, 1.0));
    /// ```
    pub fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|value| normalized(value as u8, self.mean[channel], self.std[channel]))
        })
    }
}

impl Default for Normalize {
    fn default() -> Self {
        Self::IMAGENET
    }
}

/// torchvision's `ToTensor` and `Normalize` of one value, in single precision.
#[inline(always)]
pub(crate) fn normalized(value: u8, mean: f32, std: f32) -> f32 {
    (f32::from(value) / 255.0 - mean) / std
}
