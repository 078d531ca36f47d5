//! The shapes of images and of a convolution on them.

/// A batch of channels-last images (batch, height, width, channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Number of images.
    pub batch: usize,
    /// Rows of an image, in pixels.
    pub height: usize,
    /// Columns of an image, in pixels.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl BatchShape {
    /// Number of elements.
    ///
    /// # Panics
    /// It is beyond `usize`.
    pub fn len(&self) -> usize {
        checked_product([self.batch, self.height, self.width, self.channels])
    }

    /// Whether there are no elements.
    ///
    /// # Panics
    /// As [`Self::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the images.
    pub(super) fn image(&self) -> ImageShape {
        ImageShape { height: self.height, width: self.width, channels: self.channels }
    }
}

/// A channels-last image (height, width, channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageShape {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl ImageShape {
    /// Number of elements.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// A place in a convolution's kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct KernelTap {
    pub row: usize,
    pub column: usize,
}

/// A convolution with a square kernel on a batch of channels-last images: input (batch, height, width, c_in), weight
/// (c_out, c_in, kernel, kernel), output (batch, out_height, out_width, c_out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Number of images, at least 1.
    pub batch: usize,
    /// Rows of an input image, in pixels.
    pub height: usize,
    /// Columns of an input image, in pixels.
    pub width: usize,
    /// Channels of an input pixel.
    pub c_in: usize,
    /// Channels of an output pixel.
    pub c_out: usize,
    /// Side of the kernel, in pixels, at least 1.
    pub kernel: usize,
    /// Input pixels from one output to the next, in both directions, at least 1.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input image, in pixels, fewer than the kernel's side.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of an output image, in pixels.
    ///
    /// # Panics
    /// The kernel is larger than the padded image, or kernel or stride is 0.
    pub fn out_height(&self) -> usize {
        self.out_side(self.height)
    }

    /// Columns of an output image, in pixels.
    ///
    /// # Panics
    /// As [`Self::out_height`].
    pub fn out_width(&self) -> usize {
        self.out_side(self.width)
    }

    /// Pixels along a side of an output image: the kernels write as many as this says, so that it must not wrap around.
    fn out_side(&self, side: usize) -> usize {
        let padded = self.padding.checked_mul(2).and_then(|padding| padding.checked_add(side));
        let moves = padded.and_then(|padded| padded.checked_sub(self.kernel)).filter(|_| self.kernel > 0);
        let Some(moves) = moves else {
            panic!("a kernel of {} does not fit a side of {side} with a padding of {}", self.kernel, self.padding);
        };
        moves / self.stride + 1
    }

    /// Elements of the input.
    ///
    /// # Panics
    /// They are beyond `usize`.
    pub fn input_len(&self) -> usize {
        checked_product([self.batch, self.height, self.width, self.c_in])
    }

    /// Elements of the output.
    ///
    /// # Panics
    /// They are beyond `usize`, or as [`Self::out_height`].
    pub fn output_len(&self) -> usize {
        checked_product([self.batch, self.out_height(), self.out_width(), self.c_out])
    }

    /// Elements of the weight.
    ///
    /// # Panics
    /// They are beyond `usize`.
    pub fn weight_len(&self) -> usize {
        checked_product([self.c_out, self.c_in, self.kernel, self.kernel])
    }

    /// The output, a batch of images.
    ///
    /// # Panics
    /// As [`Self::out_height`].
    pub fn output_batch(&self) -> BatchShape {
        BatchShape { batch: self.batch, height: self.out_height(), width: self.out_width(), channels: self.c_out }
    }

    /// Floating-point operations of a direct pass (a multiplication and an addition each).
    pub fn flops(&self) -> f64 {
        2.0 * (self.batch * self.out_height() * self.out_width() * self.weight_len()) as f64
    }

    /// An input image.
    pub(super) fn input(&self) -> ImageShape {
        ImageShape { height: self.height, width: self.width, channels: self.c_in }
    }

    /// An output image.
    pub(super) fn output(&self) -> ImageShape {
        ImageShape { height: self.out_height(), width: self.out_width(), channels: self.c_out }
    }

    /// The kernel's places, row by row.
    pub(super) fn taps(&self) -> Vec<KernelTap> {
        let kernel = self.kernel;
        (0..kernel * kernel).map(|tap| KernelTap { row: tap / kernel, column: tap % kernel }).collect()
    }

    /// A 1x1 convolution of stride 1 mixes only channels, so each group's pixels are taken for one image of one column.
    /// Other convolutions stay as they are.
    pub(super) fn as_column_of_pixels(self, groups: usize) -> Self {
        if self.kernel == 1 && self.stride == 1 && self.padding == 0 {
            Self { batch: groups, height: self.batch / groups * self.height * self.width, width: 1, ..self }
        } else {
            self
        }
    }
}

/// A product of sides, as every length is that a kernel relies on.
///
/// # Panics
/// It is beyond `usize`, an empty side being taken for one, so that products of some of the sides are within it too.
pub(super) fn checked_product<const N: usize>(sides: [usize; N]) -> usize {
    let all = sides.iter().try_fold(1_usize, |product, &side| product.checked_mul(side.max(1)));
    assert!(all.is_some(), "the sides {sides:?} have too many elements");
    sides.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape =
        ConvShape { batch: 1, height: 8, width: 8, c_in: 4, c_out: 4, kernel: 3, stride: 1, padding: 0 };

    #[test]
    #[should_panic(expected = "a kernel of 3 does not fit a side of 1 with a padding of 0")]
    fn a_kernel_larger_than_the_padded_image_has_no_output() {
        ConvShape { width: 1, ..SHAPE }.output_len();
    }

    #[test]
    #[should_panic(expected = "have too many elements")]
    fn a_length_that_wraps_around_is_none() {
        // 2^64 + 16 elements: as many as an input of 4 pixels has.
        ConvShape { height: (1 << 60) + 1, width: 4, ..SHAPE }.input_len();
    }
}
