//! Convolution in operations that cuDNN and cuBLAS do well, backward too.

use super::custom_gradient::{CustomGradient, Gradient3};
use super::phases::{Phases, fit};
use crate::backbone::Convolution;
use crate::error::Result;
use candle_core::{DType, Tensor};

/// Convolution whose gradients are a convolution with the flipped kernel and one matrix product per kernel tap.
pub(super) fn conv2d(x: &Tensor, weight: &Tensor, conv: &Convolution) -> Result<Tensor> {
    let (kernel, stride, padding) = (conv.kernel, conv.stride, conv.padding);
    let (n, channels, height, width) = x.dims4()?;
    conv.check_input([n, channels, height, width])?;
    let value = convolution(&x.detach(), &weight.detach(), padding, stride)?.contiguous()?;
    let x_needed = x.track_op();
    let gradient = move |[x, weight, _]: [Tensor; 3], _: &Tensor, grad: &Tensor| -> Gradient3 {
        let grad = grad.contiguous()?;
        let dx =
            if x_needed { Some(conv2d_input_gradient(&grad, &weight, x.dims4()?, stride, padding)?) } else { None };
        let dw = conv2d_weight_gradient(&x, &grad, kernel, stride, padding)?;
        Ok([dx, Some(dw), None])
    };
    // The third argument has no gradient; the weight stands in for it.
    CustomGradient::node(value, [x, weight, &weight.detach()], gradient)
}

/// The input's gradient: the (for stride 2, zero-dilated) gradient convolved with the flipped, transposed kernel.
fn conv2d_input_gradient(
    grad: &Tensor,
    weight: &Tensor,
    (_, _, height, width): (usize, usize, usize, usize),
    stride: usize,
    padding: usize,
) -> candle_core::Result<Tensor> {
    let (_, _, kernel, _) = weight.dims4()?;
    let (height, width) = (height + 2 * padding + 1 - kernel, width + 2 * padding + 1 - kernel);
    let dilate = |grad: &Tensor| {
        let (n, c, h, w) = grad.dims4()?;
        let grad = match stride {
            1 => grad.clone(),
            _ => grad
                .reshape((n, c, h, 1, w, 1))?
                .pad_with_zeros(3, 0, stride - 1)?
                .pad_with_zeros(5, 0, stride - 1)?
                .reshape((n, c, h * stride, w * stride))?,
        };
        // Rows past the kernel's last place had no output; rows beyond what the padding leaves are cut.
        fit(&fit(&grad, 2, height)?, 3, width)?.contiguous()
    };
    let transposed = weight.transpose(0, 1)?.contiguous()?;
    if kernel == 1 {
        return dilate(&convolution(grad, &transposed, 0, 1)?);
    }
    let flipped = transposed.flip(&[2, 3])?.contiguous()?;
    convolution(&dilate(grad)?, &flipped, kernel - 1 - padding, 1)
}

/// The weight's gradient, one matrix product for each kernel tap. Gradient and input lie on one grid of places, image by
/// image and row by row, so that what a tap sees is the input shifted by a number of places: a view, not a copy. Where
/// the grid has a place and the convolution no output, the gradient is zero.
fn conv2d_weight_gradient(
    x: &Tensor,
    grad: &Tensor,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> candle_core::Result<Tensor> {
    let (n, c_in, ..) = x.dims4()?;
    let (_, c_out, h, w) = grad.dims4()?;
    let phases = Phases::new(kernel, stride, [h, w]);
    let [qh, qw] = phases.blocks;
    let places = n * qh * qw;
    let dy = fit(&fit(grad, 2, qh)?, 3, qw)?.permute((0, 2, 3, 1))?.contiguous()?.reshape((places, c_out))?;
    let padded = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    // Of a 1x1 kernel of stride 2, one phase in four is seen.
    let seen = kernel.min(stride);
    let x = phases.split(&padded)?.narrow(3, 0, seen)?.narrow(5, 0, seen)?;
    let x = x.permute([3, 5, 0, 2, 4, 1])?.contiguous()?.reshape((seen * seen, places, c_in))?;
    let mut taps = Vec::with_capacity(kernel * kernel);
    for r in 0..kernel {
        for s in 0..kernel {
            let shift = r / stride * qw + s / stride;
            let x = x.get(r % stride * seen + s % stride)?.narrow(0, shift, places - shift)?;
            taps.push(product(&dy.narrow(0, 0, places - shift)?.t()?, &x)?);
        }
    }
    Tensor::stack(&taps, 2)?.reshape((c_out, c_in, kernel, kernel))
}

/// A matrix product. Candle has none in bf16 on the CPU, where it is one of f32 whose result is rounded: what GPUs compute.
fn product(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    if widened(a) {
        return a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?.to_dtype(DType::BF16);
    }
    a.matmul(b)
}

/// A convolution, in bf16 as [`product`].
fn convolution(x: &Tensor, weight: &Tensor, padding: usize, stride: usize) -> candle_core::Result<Tensor> {
    if widened(x) {
        let (x, weight) = (x.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
        return x.conv2d(&weight, padding, stride, 1, 1)?.to_dtype(DType::BF16);
    }
    x.conv2d(weight, padding, stride, 1, 1)
}

fn widened(x: &Tensor) -> bool {
    x.dtype() == DType::BF16 && x.device().is_cpu()
}
