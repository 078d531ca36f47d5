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
    pub fn len(&self) -> usize {
        self.batch * self.image().len()
    }

    /// Whether there are no elements.
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
    /// Side of the kernel, in pixels.
    pub kernel: usize,
    /// Input pixels from one output to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input image, in pixels.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of an output image, in pixels.
    ///
    /// # Panics
    /// The kernel is larger than the padded image (with overflow checks), or the stride is 0.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Columns of an output image, in pixels.
    ///
    /// # Panics
    /// As [`Self::out_height`].
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.input().len()
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.output().len()
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.c_out * self.c_in * self.kernel * self.kernel
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
