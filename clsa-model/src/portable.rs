//! The backbone's operations in Candle's own, on any device and in any floating-point type, differentiable by Candle.
//!
//! Where Candle has no gradient (padded max pooling) or a slow one (the transposed convolutions of `conv2d`, batch norm
//! as a chain of element-wise operations), the value is computed without a graph and its gradient written out here, in
//! operations that cuDNN and cuBLAS do well: see [`Given`].

use crate::error::{ModelError, Result};
use crate::ops::{BatchNorm, Conv, ConvBn, Mode, Ops};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Layout, Shape, Storage, Tensor, Var};
use std::sync::Mutex;

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
        let (scale, shift) = (self.take(&unit.bn.weight.var)?, self.take(&unit.bn.bias.var)?);
        if self.mode == Mode::Train {
            let y = conv2d(x, &weight.to_dtype(self.dtype)?, &unit.conv)?;
            let affine = Tensor::stack(&[scale, shift], 0)?;
            return batch_norm(&y, &affine, residual, relu, &unit.bn, self.bn_splits);
        }
        // The statistics are constants, so the norm is folded into the convolution.
        let bn = &unit.bn;
        let std = (bn.running_var.var.as_detached_tensor() + BatchNorm::EPS)?.sqrt()?;
        let scale = (scale / std)?;
        let shift = (shift - (bn.running_mean.var.as_detached_tensor() * &scale)?)?;
        let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?.to_dtype(self.dtype)?;
        let shift = shift.to_dtype(self.dtype)?.reshape((1, (), 1, 1))?;
        let y = conv2d(x, &weight, &unit.conv)?.broadcast_add(&shift)?;
        let y = match residual {
            Some(residual) => (y + residual)?,
            None => y,
        };
        if relu { Ok(relu_of(&y)?) } else { Ok(y) }
    }

    fn max_pool(&mut self, x: &Tensor) -> Result<Tensor> {
        max_pool(x)
    }

    fn global_avg_pool(&mut self, x: &Tensor) -> Result<Tensor> {
        let x = if x.dtype() == DType::BF16 { x.to_dtype(DType::F32)? } else { x.clone() };
        Ok(x.mean((2, 3))?)
    }
}

/// ReLU whose gradient at 0 is 0, as PyTorch's is (Candle's own passes it on). What is not a number stays so, which
/// Candle's loses.
pub(crate) fn relu_of(x: &Tensor) -> candle_core::Result<Tensor> {
    let positive = x.detach().relu()?.sign()?;
    x * positive
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

/// A value computed outside the graph, with its gradient to up to three arguments as a function of the arguments, the
/// value and the value's gradient. What the function needs is the graph's own, so that nothing is kept twice.
struct Given<F> {
    /// Until the graph has taken it.
    value: Mutex<Option<Tensor>>,
    gradient: F,
}

type Gradient3 = candle_core::Result<[Option<Tensor>; 3]>;

impl<F: Fn([Tensor; 3], &Tensor, &Tensor) -> Gradient3 + Send + Sync + 'static> Given<F> {
    /// The node of the graph. `value` must be contiguous and own its storage whole.
    fn node(value: Tensor, [a, b, c]: [&Tensor; 3], gradient: F) -> Result<Tensor> {
        Ok(a.apply_op3(b, c, Self { value: Mutex::new(Some(value)), gradient })?)
    }
}

impl<F> Given<F> {
    fn value(&self) -> candle_core::Result<Tensor> {
        let value = self.value.lock().ok().and_then(|mut value| value.take());
        value.ok_or_else(|| candle_core::Error::Msg("the value of a node is taken once".to_owned()))
    }
}

impl<F: Fn([Tensor; 3], &Tensor, &Tensor) -> Gradient3> CustomOp3 for Given<F> {
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
        let value = self.value()?;
        match &*value.storage_and_layout().0 {
            Storage::Cpu(storage) => Ok((storage.clone(), value.shape().clone())),
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
        let value = self.value()?;
        let (storage, layout) = value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
            _ => candle_core::bail!("the arguments are on a GPU and the value is not"),
        }
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        value: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let arguments = [a.detach(), b.detach(), c.detach()];
        let [a, b, c] = (self.gradient)(arguments, &value.detach(), grad)?;
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
    Given::node(value, [x, weight, &weight.detach()], gradient)
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

/// `relu?(batch_norm(x) + residual?)` with the statistics of each of `splits` groups of the batch; the running statistics
/// move to their mean. `affine` is (2, C): scale and shift. Of the activations, argument and value are kept.
fn batch_norm(
    x: &Tensor,
    affine: &Tensor,
    residual: Option<&Tensor>,
    relu: bool,
    bn: &BatchNorm,
    splits: usize,
) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if splits == 0 || !n.is_multiple_of(splits) {
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
    let (dtype, stat) = (x.dtype(), affine.dtype());
    let grouped = move |x: &Tensor| x.to_dtype(stat)?.reshape((splits, n / splits, c, h * w));
    let channel = move |affine: &Tensor, row: usize| affine.get(row)?.reshape((1, 1, c, 1));
    let over = (1, 3);
    let x0 = grouped(&x.detach())?;
    let mean = x0.mean_keepdim(over)?;
    let centred = x0.broadcast_sub(&mean)?;
    let var = centred.sqr()?.mean_keepdim(over)?;
    let unbiased = (var.mean(0)?.flatten_all()? * (count as f64 / (count - 1) as f64))?;
    follow(&bn.running_mean.var, &mean.mean(0)?.flatten_all()?)?;
    follow(&bn.running_var.var, &unbiased)?;
    let inv_std = (var + BatchNorm::EPS)?.sqrt()?.recip()?;
    let affine0 = affine.detach();
    let mut value = centred
        .broadcast_mul(&inv_std.broadcast_mul(&channel(&affine0, 0)?)?)?
        .broadcast_add(&channel(&affine0, 1)?)?
        .reshape((n, c, h, w))?
        .to_dtype(dtype)?;
    if let Some(residual) = residual {
        value = (value + residual.detach())?;
    }
    if relu {
        value = relu_of(&value)?;
    }
    let residual_needed = residual.is_some();
    let gradient = move |[x, affine, _]: [Tensor; 3], value: &Tensor, grad: &Tensor| -> Gradient3 {
        // The value of a ReLU is positive where the gradient passes.
        let grad = if relu { (grad * value.sign()?)? } else { grad.contiguous()? };
        let dy = grouped(&grad)?;
        let normed = grouped(&x)?.broadcast_sub(&mean)?.broadcast_mul(&inv_std)?;
        // Sums per group and channel serve both the parameters and the input.
        let sum_dy = dy.sum_keepdim(over)?;
        let sum_dy_normed = (&dy * &normed)?.sum_keepdim(over)?;
        let dx = ((dy * count as f64)?.broadcast_sub(&sum_dy)? - normed.broadcast_mul(&sum_dy_normed)?)?
            .broadcast_mul(&(inv_std.broadcast_mul(&channel(&affine, 0)?)? / count as f64)?)?
            .reshape((n, c, h, w))?
            .to_dtype(dtype)?;
        let sums = [sum_dy_normed.sum(0)?.flatten_all()?, sum_dy.sum(0)?.flatten_all()?];
        Ok([Some(dx), Some(Tensor::stack(&sums, 0)?), residual_needed.then_some(grad)])
    };
    Given::node(value, [x, affine, residual.unwrap_or(&affine0)], gradient)
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
    let x0 = x.detach();
    let mut taps = max_pool_taps(&x0, &phases)?.into_iter();
    let first = taps.next().expect("a window has nine taps");
    let value = taps.try_fold(first.contiguous()?, |highest, tap| highest.maximum(&tap))?;
    let gradient = move |[x, ..]: [Tensor; 3], highest: &Tensor, grad: &Tensor| -> Gradient3 {
        let mut free = highest.ones_like()?;
        let mut dx: Option<Tensor> = None;
        for (t, tap) in max_pool_taps(&x, &phases)?.iter().enumerate() {
            let chosen = (tap.eq(highest)?.to_dtype(free.dtype())? * &free)?;
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
    Given::node(value, [x, &none, &none], gradient)
}

/// What each of the nine taps of a window sees, in reading order.
fn max_pool_taps(x: &Tensor, phases: &Phases) -> candle_core::Result<Vec<Tensor>> {
    let pad = |x: &Tensor| x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1);
    // Below every activation, and finite in every type, so that the padding is never chosen.
    let outside = ((pad(&x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.ones_like()?)? - 1.0)? * 1e30)?;
    let split = phases.split(&pad(x)?.broadcast_add(&outside)?)?;
    (0..9).map(|t| phases.tap(&split, t / 3, t % 3)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Builder, Init};
    use candle_core::Device;
    use proptest::prelude::*;

    /// The largest rounding of bfloat16 relative to the number.
    const ROUNDING: f64 = 1.0 / 256.0;

    /// Numbers in -1..1 that bfloat16 holds exactly.
    fn values(dims: &[usize], seed: usize) -> Tensor {
        let n: usize = dims.iter().product();
        // Two seeds give unrelated numbers.
        let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((state >> 56) as u8) / 128.0 - 1.0
        };
        next();
        let values: Vec<f64> = (0..n).map(|_| next()).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap()
    }

    fn f64s(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn largest(tensor: &Tensor) -> f64 {
        f64s(tensor).iter().fold(0.0f64, |m, x| m.max(x.abs()))
    }

    /// The largest difference.
    fn difference(got: &Tensor, expected: &Tensor) -> f64 {
        assert_eq!(got.dims(), expected.dims());
        let exact = expected.to_dtype(DType::F64).unwrap();
        largest(&(got.to_dtype(DType::F64).unwrap() - exact).unwrap())
    }

    fn unit(dtype: DType, c_in: usize, c_out: usize, kernel: usize, stride: usize, seed: usize) -> ConvBn {
        let mut builder = Builder::new(0, DType::F64, &Device::Cpu);
        let mut parameter = |name: &str, shape: &[usize], shift: f64| {
            let mut parameter = builder.parameter(name.to_owned(), shape, Init::Constant(0.0)).unwrap();
            let values = (values(shape, seed).to_dtype(DType::F64).unwrap() * 0.5).unwrap();
            parameter.var = Var::from_tensor(&(values + shift).unwrap().to_dtype(dtype).unwrap()).unwrap();
            parameter
        };
        let weight = parameter("conv.weight", &[c_out, c_in, kernel, kernel], 0.0);
        let (scale, bias) = (parameter("bn.weight", &[c_out], 1.0), parameter("bn.bias", &[c_out], 0.0));
        let mut builder = Builder::new(0, dtype, &Device::Cpu);
        let mut buffer = |name: &str, value| builder.buffer(name.to_owned(), c_out, value).unwrap();
        let (running_mean, running_var) = (buffer("bn.running_mean", 0.0), buffer("bn.running_var", 1.0));
        let bn = BatchNorm { weight: scale, bias, running_mean, running_var };
        ConvBn { conv: Conv { weight, c_in, c_out, kernel, stride, padding: kernel / 2 }, bn }
    }

    /// Output and gradients (input, weight, scale, bias, residual) of one unit.
    fn pass(
        dtype: DType,
        unit: &ConvBn,
        x: &Tensor,
        residual: &Tensor,
        dy: &Tensor,
        relu: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let take = |t: &Tensor| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap();
        let (x, residual) = (take(x), take(residual));
        let mut portable = Portable { mode: Mode::Train, bn_splits: 1, dtype, track: true };
        let y = portable.conv_bn(x.as_tensor(), unit, Some(residual.as_tensor()), relu).unwrap();
        assert_eq!(y.dtype(), dtype);
        let store = (&y * dy.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
        let (weight, bn) = (&unit.conv.weight.var, &unit.bn);
        let all = [&x, weight, &bn.weight.var, &bn.bias.var, &residual];
        (y.detach(), all.map(|var| store.get(var).unwrap().clone()).to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Parameters and statistics in f32, the convolution's output, the norm's and the sum rounded to bfloat16: each
        /// rounding once, and once more by the norm's scale over the deviation. (One weight alone has no gradient, because
        /// the norm takes its size away; so there are two or more.)
        #[test]
        fn a_unit_in_bf16_is_within_its_rounding_of_f64(
            (n, side, c_in, c_out) in (2..4usize, 4..9usize, 2..9usize, 1..9usize),
            (kernel, stride) in prop_oneof![Just((1, 1)), Just((1, 2)), Just((3, 1)), Just((3, 2)), Just((7, 2))],
            seed in 0..1000usize,
        ) {
            let x = values(&[n, c_in, side, side], seed);
            let out = side.div_ceil(stride);
            let (residual, dy) = (values(&[n, c_out, out, out], seed + 1), values(&[n, c_out, out, out], seed + 2));
            let narrow = unit(DType::F32, c_in, c_out, kernel, stride, seed);
            // The weights as bfloat16 sees them.
            narrow.conv.weight.var.set(&narrow.conv.weight.var.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap()).unwrap();
            let wide = unit(DType::F64, c_in, c_out, kernel, stride, seed);
            wide.conv.weight.var.set(&narrow.conv.weight.var.to_dtype(DType::F64).unwrap()).unwrap();
            for relu in [false, true] {
                let (y, gradients) = pass(DType::BF16, &narrow, &x, &residual, &dy, relu);
                let (expected, _) = pass(DType::F64, &wide, &x, &residual, &dy, relu);
                let error = difference(&y, &expected) / largest(&expected);
                prop_assert!(error < 3.0 * ROUNDING, "output differs by {error:e}");
                // ReLU's gate is compared above; here it is taken as bf16 sees it.
                let gate = if relu { y.to_dtype(DType::F64).unwrap().sign().unwrap() } else { y.ones_like().unwrap() };
                let gated = (dy.to_dtype(DType::F64).unwrap() * gate.to_dtype(DType::F64).unwrap()).unwrap();
                let (_, expected) = pass(DType::F64, &wide, &x, &residual, &gated, false);
                // A gradient is a sum that may happen to be near zero: its size is what other gradients of the output make.
                let others: Vec<_> = (3..11)
                    .map(|k| values(gated.dims(), seed + k).to_dtype(DType::F64).unwrap() * gate.to_dtype(DType::F64).unwrap())
                    .map(|dy| pass(DType::F64, &wide, &x, &residual, &dy.unwrap(), false).1)
                    .collect();
                let size = |i: usize| others.iter().fold(largest(&expected[i]), |m, other| m.max(largest(&other[i])));
                let names = ["input", "weight", "scale", "bias", "residual"];
                for (i, name) in names.into_iter().enumerate() {
                    let error = difference(&gradients[i], &expected[i]) / size(i);
                    prop_assert!(error < 4.0 * ROUNDING, "{name} gradient differs by {error:e}");
                }
            }
        }

        /// Pooling chooses, so that bf16 is exact; the mean is f32's.
        #[test]
        fn pooling_in_bf16_gives_what_f64_does(
            (n, channels, height, width) in (1..3usize, 1..4usize, 1..9usize, 1..9usize), seed in 0..1000usize
        ) {
            let x = values(&[n, channels, height, width], seed);
            let dy = values(&[n, channels, height.div_ceil(2), width.div_ceil(2)], seed + 1);
            let run = |dtype: DType| {
                let x = Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap();
                let mut portable = Portable { mode: Mode::Train, bn_splits: 1, dtype, track: true };
                let y = portable.max_pool(x.as_tensor()).unwrap();
                let store = (&y * dy.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
                let mean = portable.global_avg_pool(x.as_tensor()).unwrap();
                (y.detach(), store.get(&x).unwrap().clone(), mean.detach())
            };
            let ((y, dx, mean), (exact_y, exact_dx, exact_mean)) = (run(DType::BF16), run(DType::F64));
            prop_assert_eq!(f64s(&y), f64s(&exact_y));
            // Up to four windows choose the same place: sums of two, of three and of four are rounded.
            prop_assert!(difference(&dx, &exact_dx) <= (2.0 + 3.0 + 4.0) * ROUNDING * largest(&dy));
            prop_assert!(difference(&mean, &exact_mean) <= 1e-6 * largest(&x));
        }
    }
}
