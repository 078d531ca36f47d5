//! The shape of a convolution.

/// A square convolution on a batch of channels-last images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub height: usize,
    /// Input columns.
    pub width: usize,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance between the inputs of neighbouring outputs.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
}

impl ConvShape {
    /// Whether the kernels in f32 compute it, or its gradients, by Winograd's F(4x4, 3x3), which costs a digit.
    pub fn by_winograd(self) -> bool {
        super::winograd::applies(self)
    }

    /// Output rows.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Output columns.
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
        self.c_out * self.c_in * self.kernel * self.kernel
    }

    /// Floating-point operations of a direct pass (a multiplication and an addition each).
    pub fn flops(&self) -> f64 {
        2.0 * (self.batch * self.out_height() * self.out_width() * self.weight_len()) as f64
    }

    /// A 1x1 convolution of stride 1 mixes only channels: all pixels of a group are one column of pixels.
    pub(super) fn flattened(self, groups: usize) -> Self {
        if self.kernel == 1 && self.stride == 1 && self.padding == 0 {
            Self { batch: groups, height: self.batch / groups * self.height * self.width, width: 1, ..self }
        } else {
            self
        }
    }
}
