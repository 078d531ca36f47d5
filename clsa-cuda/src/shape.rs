//! A convolution as a GPU computes it.

/// A convolution with a square kernel on channels-last images: input (batch, height, width, c_in), weight (c_out, kernel,
/// kernel, c_in), output (batch, out_height, out_width, c_out), all dense. Sizes in elements or pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Number of images.
    pub batch: usize,
    /// Rows of an input image.
    pub height: usize,
    /// Columns of an input image.
    pub width: usize,
    /// Channels of an input pixel, a multiple of 8: images are padded with channels of zeros.
    pub c_in: usize,
    /// Channels of an output pixel, a multiple of 8.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Input pixels from one output to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros on each side of the input image.
    pub padding: usize,
}

impl ConvShape {
    /// Rows of an output image.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Columns of an output image.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.c_in
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.c_out
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.c_out * self.kernel * self.kernel * self.c_in
    }
}

/// Which of a convolution's three products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From input and weight to output.
    Forward,
    /// From the output's gradient and the weight to the input's gradient.
    Data,
    /// From input and the output's gradient to the weight's gradient.
    Weight,
}
