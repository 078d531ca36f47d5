//! Strided windows of an image without strided slicing, which Candle lacks.

use candle_core::Tensor;

/// Cuts or zero-pads a dimension at its end to `len`.
pub(super) fn fit(x: &Tensor, dim: usize, len: usize) -> candle_core::Result<Tensor> {
    let have = x.dim(dim)?;
    if have > len { x.narrow(dim, 0, len) } else { x.pad_with_zeros(dim, 0, len - have) }
}

/// Strided windows without strided slicing: a padded image as (N, C, Q, stride, Q, stride), where the inputs that
/// kernel tap (r, s) sees at every output position are one slice.
pub(super) struct Phases {
    stride: usize,
    out: [usize; 2],
    /// Rows and columns of blocks of `stride` x `stride` places.
    pub blocks: [usize; 2],
}

impl Phases {
    pub fn new(kernel: usize, stride: usize, out: [usize; 2]) -> Self {
        Self { stride, out, blocks: out.map(|o| o + (kernel - 1) / stride) }
    }

    pub fn split(&self, padded: &Tensor) -> candle_core::Result<Tensor> {
        let (n, c, ..) = padded.dims4()?;
        let [qh, qw] = self.blocks;
        fit(&fit(padded, 2, qh * self.stride)?, 3, qw * self.stride)?.contiguous()?.reshape(&[
            n,
            c,
            qh,
            self.stride,
            qw,
            self.stride,
        ])
    }

    pub fn tap(&self, split: &Tensor, r: usize, s: usize) -> candle_core::Result<Tensor> {
        split
            .narrow(2, r / self.stride, self.out[0])?
            .narrow(4, s / self.stride, self.out[1])?
            .narrow(3, r % self.stride, 1)?
            .narrow(5, s % self.stride, 1)?
            .squeeze(5)?
            .squeeze(3)
    }

    /// The adjoint of [`Self::tap`] after [`Self::split`]: a gradient at the outputs, put at the inputs of tap (r, s).
    pub fn scatter(&self, grad: &Tensor, r: usize, s: usize) -> candle_core::Result<Tensor> {
        let (n, c, h, w) = grad.dims4()?;
        let [qh, qw] = self.blocks;
        let (t, top, left) = (self.stride, r / self.stride, s / self.stride);
        grad.reshape(&[n, c, h, 1, w, 1])?
            .pad_with_zeros(2, top, qh - h - top)?
            .pad_with_zeros(3, r % t, t - 1 - r % t)?
            .pad_with_zeros(4, left, qw - w - left)?
            .pad_with_zeros(5, s % t, t - 1 - s % t)?
            .reshape((n, c, qh * t, qw * t))
    }
}
