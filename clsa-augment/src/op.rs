//! The deterministic operations that views are made of.

use std::sync::Arc;

use crate::{Crop, CustomOp};

/// A deterministic operation on an RGB image. Each of the built-in ones gives the bytes that Pillow gives.
///
/// The text form ([`FromStr`](std::str::FromStr), [`Display`](std::fmt::Display)) is `name` or
/// `name=argument[,argument…]`, e.g. `posterize=4`; [`OPS`](crate::OPS) lists what there is.
///
/// # Examples
/// ```
/// use clsa_augment::{Augmenter, Crop, Op};
///
/// let image = image::RgbImage::from_pixel(500, 375, image::Rgb([90, 120, 30]));
/// let crop = Crop { x: 10, y: 20, width: 200, height: 150 };
/// let ops = [Op::CropResize { crop, width: 64, height: 64 }, "posterize=4".parse()?, Op::Rotate(-15.0)];
/// assert_eq!(ops[0].to_string(), "crop_resize=10,20,200,150,64,64");
/// assert_eq!(Augmenter::new().apply(&image, &ops)?.dimensions(), (64, 64));
///
/// let error = "posterize=9".parse::<Op>().unwrap_err().to_string();
/// assert_eq!(error, "the operation posterize does not accept 9; it needs a whole number from 1 to 8");
/// # Ok::<(), clsa_augment::AugmentError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Crops, then resizes to `width` × `height`: torchvision `resized_crop`, Pillow `Image.resize(BILINEAR)`, which
    /// widens its triangle filter when it shrinks the image (antialiasing).
    CropResize {
        /// What is kept of the image.
        crop: Crop,
        /// Width of the result in pixels.
        width: u32,
        /// Height of the result in pixels.
        height: u32,
    },
    /// `ImageEnhance.Brightness(image).enhance(factor)`, torchvision `adjust_brightness`.
    Brightness(f64),
    /// `ImageEnhance.Contrast(image).enhance(factor)`, torchvision `adjust_contrast`.
    Contrast(f64),
    /// `ImageEnhance.Color(image).enhance(factor)`, torchvision `adjust_saturation`.
    Color(f64),
    /// torchvision `adjust_hue`: the hue turned by this part of the circle, from -0.5 to 0.5, in Pillow's 8-bit HSV.
    Hue(f64),
    /// torchvision `to_grayscale(3)`: Pillow's luma (ITU-R 601-2) in all three channels.
    Grayscale,
    /// `ImageFilter.GaussianBlur(radius)`, the argument being the standard deviation in pixels.
    GaussianBlur(f64),
    /// `ImageOps.mirror`.
    FlipHorizontal,
    /// `ImageOps.autocontrast(image)`, without cutoff.
    AutoContrast,
    /// `ImageOps.equalize(image)`.
    Equalize,
    /// Leaves the image as it is.
    Identity,
    /// `ImageOps.invert`.
    Invert,
    /// `ImageOps.posterize(image, bits)`, bits from 1 to 8.
    Posterize(u32),
    /// `ImageOps.solarize(image, threshold)`: values from the threshold upwards are inverted.
    Solarize(u32),
    /// Adds the value, clips to 0..=255, then solarizes at 128 (FixMatch's `SolarizeAdd`).
    SolarizeAdd(i32),
    /// `ImageEnhance.Sharpness(image).enhance(factor)`.
    Sharpness(f64),
    /// `Image.rotate(degrees)`: counterclockwise about the center, nearest neighbor, black corners.
    Rotate(f64),
    /// `Image.transform(size, AFFINE, (1, factor, 0, 0, 1, 0))`, nearest neighbor, black fill.
    ShearX(f64),
    /// `Image.transform(size, AFFINE, (1, 0, 0, factor, 1, 0))`, nearest neighbor, black fill.
    ShearY(f64),
    /// `Image.transform(size, AFFINE, (1, 0, pixels, 0, 1, 0))`: positive values move the picture to the left.
    TranslateX(f64),
    /// `Image.transform(size, AFFINE, (1, 0, 0, 0, 1, pixels))`: positive values move the picture upwards.
    TranslateY(f64),
    /// `ImageDraw.rectangle((x0, y0, x1, y1), fill=(127, 127, 127))`: both corners belong to the rectangle; what lies
    /// outside the image is left out.
    Cutout {
        /// Left column.
        x0: i64,
        /// Upper row.
        y0: i64,
        /// Right column.
        x1: i64,
        /// Lower row.
        y1: i64,
    },
    /// An operation of one's own.
    Custom(Arc<dyn CustomOp>),
}

impl Op {
    /// An operation of one's own.
    pub fn custom(op: impl CustomOp + 'static) -> Self {
        Self::Custom(Arc::new(op))
    }
}
