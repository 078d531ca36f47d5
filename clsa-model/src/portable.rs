//! The backbone's operations in Candle's own, on any device and in any floating-point type, differentiable by Candle.
//!
//! Where Candle has no gradient (padded max pooling) or a slow one (the transposed convolutions of `conv2d`, batch norm
//! as a chain of element-wise operations), the value is computed without a graph and its gradient written out here, in
//! operations that cuDNN and cuBLAS do well: see [`Given`].

use crate::error::{ModelError, Result};
use crate::ops::{BatchNorm, Conv, ConvBn, Mode, Ops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Layout, Shape, Storage, Tensor, Var};

/// One pass in Candle operations.
pub(crate) struct Portable {
    pub mode: Mode,
    pub bn_splits: usize,
    /// The type of activations and products: f32, f64 or bf16.
    pub dtype: DType,
    /// Whether parameters are taken with their graph, so that Candle's `backward` reaches them.
    pub track: bool,
}

impl Portable {
    fn take(&self, var: &Var) -> Result<Tensor> {
        let tensor = if self.track { var.as_tensor().clone() } else { var.as_detached_tensor() };
        Ok(tensor)
    }
}

impl Ops for Portable {
    type Act = Tensor;

    fn image(&mut self, images: &Tensor) -> Result<Tensor> {
        Ok(images.to_dtype(self.dtype)?.contiguous()?)
    }

    fn conv_bn(&mut self, x: &Tensor, unit: &ConvBn, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        let weight = self.take(&unit.conv.weight.var)?;
        let y = match self.mode {
            Mode::Train => {
                let y = conv2d(x, &weight.to_dtype(self.dtype)?, &unit.conv)?;
                let (gamma, beta) = (self.take(&unit.bn.weight.var)?, self.take(&unit.bn.bias.var)?);
                batch_norm(&y, &gamma, &beta, &unit.bn, self.bn_splits)?
            }
            Mode::Eval => {
                // The statistics are constants, so the norm is folded into the convolution.
                let bn = &unit.bn;
                let std = (bn.running_var.var.as_detached_tensor() + BatchNorm::EPS)?.sqrt()?;
                let scale = (self.take(&bn.weight.var)? / std)?;
                let shift = (self.take(&bn.bias.var)? - (bn.running_mean.var.as_detached_tensor() * &scale)?)?;
                let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?.to_dtype(self.dtype)?;
                let shift = shift.to_dtype(self.dtype)?.reshape((1, (), 1, 1))?;
                conv2d(x, &weight, &unit.conv)?.broadcast_add(&shift)?
            }
        };
        let y = match residual {
            Some(residual) => (y + residual)?,
            None => y,
        };
        if relu { relu_of(&y) } else { Ok(y) }
    }

    fn max_pool(&mut self, x: &Tensor) -> Result<Tensor> {
        max_pool(x)
    }

    fn global_avg_pool(&mut self, x: &Tensor) -> Result<Tensor> {
        let x = if x.dtype() == DType::BF16 { x.to_dtype(DType::F32)? } else { x.clone() };
        Ok(x.mean((2, 3))?)
    }
}

/// ReLU whose gradient at 0 is 0, as PyTorch's is (Candle's own passes it on).
fn relu_of(x: &Tensor) -> Result<Tensor> {
    let positive = x.detach().gt(0.0)?.to_dtype(x.dtype())?;
    Ok((x * positive)?)
}

/// A value computed outside the graph, with its gradient to up to three arguments as a function of its own gradient.
struct Given<F> {
    value: Tensor,
    gradient: F,
}

type Gradient3 = candle_core::Result<[Option<Tensor>; 3]>;

impl<F: Fn(&Tensor) -> Gradient3 + Send + Sync + 'static> Given<F> {
    /// `value` must be contiguous and own its storage whole.
    fn attach(self, a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
        Ok(a.apply_op3(b, c, self)?)
    }
}

impl<F: Fn(&Tensor) -> Gradient3> CustomOp3 for Given<F> {
    fn name(&self) -> &'static str {
        "given"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        match &*self.value.storage_and_layout().0 {
            Storage::Cpu(storage) => Ok((storage.clone(), self.value.shape().clone())),
            _ => candle_core::bail!("the arguments are on the CPU and the value is not"),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, self.value.shape().clone())),
            _ => candle_core::bail!("the arguments are on a GPU and the value is not"),
        }
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.gradient)(grad)?;
        Ok((a, b, c))
    }
}

/// Convolution whose gradients are a convolution with the flipped kernel and one matrix product per kernel tap.
fn conv2d(x: &Tensor, weight: &Tensor, conv: &Conv) -> Result<Tensor> {
    let (kernel, stride, padding) = (conv.kernel, conv.stride, conv.padding);
    let (_, channels, ..) = x.dims4()?;
    if channels != conv.c_in {
        return Err(ModelError::Shape {
            what: "the activation",
            got: x.dims().to_vec(),
            expected: format!("(N, {}, H, W)", conv.c_in),
        });
    }
    let value = x.detach().conv2d(&weight.detach(), padding, stride, 1, 1)?.contiguous()?;
    let (x0, w0) = (x.detach(), weight.detach());
    let x_needed = x.track_op();
    let gradient = move |grad: &Tensor| -> Gradient3 {
        let grad = grad.contiguous()?;
        let dx = if x_needed { Some(conv2d_input_gradient(&grad, &w0, x0.dims4()?, stride, padding)?) } else { None };
        let dw = conv2d_weight_gradient(&x0, &grad, kernel, stride, padding)?;
        Ok([dx, Some(dw), None])
    };
    // The third argument has no gradient; the weight stands in for it.
    Given { value, gradient }.attach(x, weight, &weight.detach())
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
    let flipped = weight.flip(&[2, 3])?.transpose(0, 1)?.contiguous()?;
    let dilated = if stride == 1 {
        grad.clone()
    } else {
        let (n, c, h, w) = grad.dims4()?;
        grad.reshape((n, c, h, 1, w, 1))?
            .pad_with_zeros(3, 0, stride - 1)?
            .pad_with_zeros(5, 0, stride - 1)?
            .reshape((n, c, h * stride, w * stride))?
    };
    // Rows past the kernel's last place had no output; rows beyond what the padding leaves are cut.
    let dilated = fit(&fit(&dilated, 2, height + 2 * padding + 1 - kernel)?, 3, width + 2 * padding + 1 - kernel)?;
    dilated.contiguous()?.conv2d(&flipped, kernel - 1 - padding, 1, 1, 1)
}

/// The weight's gradient: for each tap, (c_out, positions) times (positions, c_in).
fn conv2d_weight_gradient(
    x: &Tensor,
    grad: &Tensor,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> candle_core::Result<Tensor> {
    let (_, c_in, ..) = x.dims4()?;
    let (n, c_out, h, w) = grad.dims4()?;
    let positions = n * h * w;
    let rows = grad.transpose(0, 1)?.reshape((c_out, positions))?;
    let padded = x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?;
    let phases = Phases::new(kernel, stride, [h, w]);
    let split = phases.split(&padded)?;
    let mut taps = Vec::with_capacity(kernel * kernel);
    for r in 0..kernel {
        for s in 0..kernel {
            let seen = phases.tap(&split, r, s)?.permute((0, 2, 3, 1))?.reshape((positions, c_in))?;
            taps.push(rows.matmul(&seen)?);
        }
    }
    Tensor::stack(&taps, 2)?.reshape((c_out, c_in, kernel, kernel))
}

/// Cuts or zero-pads a dimension at its end to `len`.
fn fit(x: &Tensor, dim: usize, len: usize) -> candle_core::Result<Tensor> {
    let have = x.dim(dim)?;
    if have > len { x.narrow(dim, 0, len) } else { x.pad_with_zeros(dim, 0, len - have) }
}

/// Strided windows without strided slicing: a padded image as (N, C, Q, stride, Q, stride), where the inputs that
/// kernel tap (r, s) sees at every output position are one slice.
struct Phases {
    stride: usize,
    out: [usize; 2],
    blocks: [usize; 2],
}

impl Phases {
    fn new(kernel: usize, stride: usize, out: [usize; 2]) -> Self {
        Self { stride, out, blocks: out.map(|o| o + (kernel - 1) / stride) }
    }

    fn split(&self, padded: &Tensor) -> candle_core::Result<Tensor> {
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

    fn tap(&self, split: &Tensor, r: usize, s: usize) -> candle_core::Result<Tensor> {
        split
            .narrow(2, r / self.stride, self.out[0])?
            .narrow(4, s / self.stride, self.out[1])?
            .narrow(3, r % self.stride, 1)?
            .narrow(5, s % self.stride, 1)?
            .squeeze(5)?
            .squeeze(3)
    }

    /// The adjoint of [`Self::tap`] after [`Self::split`]: a gradient at the outputs, put at the inputs of tap (r, s).
    fn scatter(&self, grad: &Tensor, r: usize, s: usize) -> candle_core::Result<Tensor> {
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

/// Batch norm with the statistics of each of `splits` groups of the batch; the running statistics move to their mean.
fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, bn: &BatchNorm, splits: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if splits == 0 || n % splits != 0 {
        return Err(ModelError::Config {
            key: "model.bn_splits",
            value: splits.to_string(),
            expected: format!("use a divisor of the batch, which has {n} images"),
        });
    }
    let count = n / splits * h * w;
    if count < 2 {
        return Err(ModelError::Shape {
            what: "a batch norm group",
            got: vec![n / splits, c, h, w],
            expected: "more than one value per channel in training".to_owned(),
        });
    }
    let (dtype, stat) = (x.dtype(), gamma.dtype());
    let grouped = move |x: &Tensor| x.to_dtype(stat)?.reshape((splits, n / splits, c, h * w));
    let over = (1, 3);
    let x0 = grouped(&x.detach())?;
    let mean = x0.mean_keepdim(over)?;
    let centred = x0.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(over)?;
    let unbiased = (var.mean(0)?.flatten_all()? * (count as f64 / (count - 1) as f64))?;
    follow(&bn.running_mean.var, &mean.mean(0)?.flatten_all()?)?;
    follow(&bn.running_var.var, &unbiased)?;
    let inv_std = (var + BatchNorm::EPS)?.sqrt()?.recip()?;
    let normed = centred.broadcast_mul(&inv_std)?;
    let scale = gamma.detach().reshape((1, 1, c, 1))?;
    let value = normed
        .broadcast_mul(&scale)?
        .broadcast_add(&beta.detach().reshape((1, 1, c, 1))?)?
        .reshape((n, c, h, w))?
        .to_dtype(dtype)?;
    let gradient = move |grad: &Tensor| -> Gradient3 {
        let dy = grouped(&grad.contiguous()?)?;
        // Sums per group and channel serve both the parameters and the input.
        let sum_dy = dy.sum_keepdim(over)?;
        let sum_dy_normed = (&dy * &normed)?.sum_keepdim(over)?;
        let dx = ((&dy * count as f64)?.broadcast_sub(&sum_dy)? - normed.broadcast_mul(&sum_dy_normed)?)?
            .broadcast_mul(&(inv_std.broadcast_mul(&scale)? / count as f64)?)?
            .reshape((n, c, h, w))?
            .to_dtype(dtype)?;
        let (dgamma, dbeta) = (sum_dy_normed.sum(0)?.flatten_all()?, sum_dy.sum(0)?.flatten_all()?);
        Ok([Some(dx), Some(dgamma), Some(dbeta)])
    };
    Given { value, gradient }.attach(x, gamma, beta)
}

/// Moves a running statistic towards that of the batch.
fn follow(running: &Var, batch: &Tensor) -> Result<()> {
    let kept = (running.as_detached_tensor() * (1.0 - BatchNorm::MOMENTUM))?;
    running.set(&(kept + (batch * BatchNorm::MOMENTUM)?)?)?;
    Ok(())
}

/// Max pooling 3x3, stride 2, padding 1. Among equal values the first in reading order gets the gradient, as in PyTorch.
fn max_pool(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let phases = Phases::new(3, 2, [h.div_ceil(2), w.div_ceil(2)]);
    let pad = |x: &Tensor| x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1);
    let x0 = x.detach();
    // Below every activation, and finite in every type, so that the padding is never chosen.
    let outside = ((pad(&x0.narrow(0, 0, 1)?.narrow(1, 0, 1)?.ones_like()?)? - 1.0)? * 1e30)?;
    let split = phases.split(&pad(&x0)?.broadcast_add(&outside)?)?;
    let taps = (0..9).map(|t| phases.tap(&split, t / 3, t % 3)).collect::<candle_core::Result<Vec<_>>>()?;
    let mut value = taps[0].contiguous()?;
    for tap in &taps[1..] {
        value = value.maximum(tap)?;
    }
    let highest = value.clone();
    let gradient = move |grad: &Tensor| -> Gradient3 {
        let mut free = highest.ones_like()?;
        let mut dx: Option<Tensor> = None;
        for (t, tap) in taps.iter().enumerate() {
            let chosen = (tap.eq(&highest)?.to_dtype(free.dtype())? * &free)?;
            free = (free - &chosen)?;
            let part = phases.scatter(&(grad * chosen)?, t / 3, t % 3)?;
            dx = Some(match dx {
                Some(dx) => (dx + part)?,
                None => part,
            });
        }
        let dx = dx.expect("a window has nine taps");
        let dx = fit(&fit(&dx, 2, h + 2)?, 3, w + 2)?.narrow(2, 1, h)?.narrow(3, 1, w)?;
        Ok([Some(dx.contiguous()?), None, None])
    };
    let none = x0.flatten_all()?.narrow(0, 0, 1)?;
    Given { value, gradient }.attach(x, &none, &none)
}
