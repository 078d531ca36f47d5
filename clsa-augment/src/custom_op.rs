//! The open seam of the operations: one that another crate adds.

use std::fmt::{Debug, Display};

use image::RgbImage;

/// A deterministic operation of one's own, for [`Op::custom`](crate::Op::custom): it runs wherever the built-in ones do.
///
/// Its [`Display`] is its text form, `name` or `name=arguments`, which listings of a view's operations show. Two custom
/// operations are equal if their text forms are, so that these name every argument.
///
/// # Examples
/// ```
/// use std::fmt;
///
/// use clsa_augment::image::{Rgb, RgbImage};
/// use clsa_augment::{Augmenter, CustomOp, Op};
///
/// #[derive(Debug)]
/// struct Frame(u32);
///
/// impl fmt::Display for Frame {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "frame={}", self.0)
///     }
/// }
///
/// impl CustomOp for Frame {
///     fn apply(&self, image: &mut RgbImage) {
///         let (width, height, thickness) = (image.width(), image.height(), self.0);
///         for (x, y, pixel) in image.enumerate_pixels_mut() {
///             if x.min(y).min(width - 1 - x).min(height - 1 - y) < thickness {
///                 *pixel = Rgb([255, 0, 0]);
///             }
///         }
///     }
/// }
///
/// let image = RgbImage::from_pixel(40, 30, Rgb([90, 120, 30]));
/// let framed = Augmenter::new().apply(&image, &[Op::Invert, Op::custom(Frame(2))])?;
/// assert_eq!((framed[(0, 15)], framed[(20, 15)]), (Rgb([255, 0, 0]), Rgb([165, 135, 225])));
/// # Ok::<(), clsa_augment::AugmentError>(())
/// ```
pub trait CustomOp: Debug + Display + Send + Sync {
    /// Changes the image. The result depends on the operation and the image alone, and may have another size: at least 1 and
    /// at most 16384 pixels on either side. Arguments are checked where the operation is made.
    fn apply(&self, image: &mut RgbImage);
}

impl PartialEq for dyn CustomOp {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
