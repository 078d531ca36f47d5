//! The backbone's operations in Candle's own, on any device and in any floating-point type, differentiable by Candle.
//!
//! Where Candle has no gradient (padded max pooling) or a slow one (the transposed convolutions of `conv2d`, batch norm
//! as a chain of element-wise operations), the value is computed without a graph and its gradient written out here, in
//! operations that cuDNN and cuBLAS do well: see [`custom_gradient`].

mod batch_norm;
mod conv;
mod custom_gradient;
mod max_pool;
mod phases;

use crate::backbone::{Activation, BatchNorm, CandlePass, ConvBn, Mode, Ops, check_residual};
use crate::error::Result;
pub(crate) use batch_norm::batch_norm;
use candle_core::{DType, Tensor};
use conv::conv2d;
use max_pool::max_pool;

/// One pass in Candle operations. Its activations are tensors.
pub(crate) struct Portable {
    pub pass: CandlePass,
    pub bn_splits: usize,
}

impl Portable {
    /// With the statistics of the batch.
    fn conv_bn_train(&self, x: &Tensor, unit: &ConvBn, residual: Option<&Tensor>, with_relu: bool) -> Result<Tensor> {
        let ConvBn { conv, bn } = unit;
        let y = conv2d(x, &self.pass.parameter(&conv.weight)?, conv)?;
        if let Some(residual) = residual {
            check_residual(residual.dims4()?.into(), y.dims4()?.into())?;
        }
        let affine = Tensor::stack(&[self.pass.take(&bn.weight.var), self.pass.take(&bn.bias.var)], 0)?;
        batch_norm(&y, &affine, residual, with_relu, bn, self.bn_splits)
    }

    /// With the running statistics, which are constants, so that the norm is folded into the convolution.
    fn conv_bn_eval(&self, x: &Tensor, unit: &ConvBn, residual: Option<&Tensor>, with_relu: bool) -> Result<Tensor> {
        let ConvBn { conv, bn } = unit;
        let [weight, scale, shift] = [&conv.weight, &bn.weight, &bn.bias].map(|p| self.pass.take(&p.var));
        let std = (bn.running_var.var.as_detached_tensor() + BatchNorm::EPS)?.sqrt()?;
        let scale = (scale / std)?;
        let shift = (shift - (bn.running_mean.var.as_detached_tensor() * &scale)?)?;
        let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?.to_dtype(self.pass.dtype)?;
        let shift = shift.to_dtype(self.pass.dtype)?.reshape((1, (), 1, 1))?;
        let mut y = conv2d(x, &weight, conv)?.broadcast_add(&shift)?;
        if let Some(residual) = residual {
            check_residual(residual.dims4()?.into(), y.dims4()?.into())?;
            y = (y + residual)?;
        }
        if with_relu { Ok(relu(&y)?) } else { Ok(y) }
    }
}

impl Ops for Portable {
    fn image(&mut self, images: &Tensor) -> Result<Activation> {
        Ok(Activation::new(images.to_dtype(self.pass.dtype)?.contiguous()?))
    }

    fn conv_bn(
        &mut self,
        x: &Activation,
        unit: &ConvBn,
        residual: Option<&Activation>,
        relu: bool,
    ) -> Result<Activation> {
        let (x, residual) = (x.get()?, residual.map(Activation::get).transpose()?);
        let y = match self.pass.mode {
            Mode::Train => self.conv_bn_train(x, unit, residual, relu)?,
            Mode::Eval => self.conv_bn_eval(x, unit, residual, relu)?,
        };
        Ok(Activation::new(y))
    }

    fn max_pool(&mut self, x: &Activation) -> Result<Activation> {
        Ok(Activation::new(max_pool(x.get()?)?))
    }

    fn global_avg_pool(&mut self, x: &Activation) -> Result<Tensor> {
        let x: &Tensor = x.get()?;
        let x = if x.dtype() == DType::BF16 { x.to_dtype(DType::F32)? } else { x.clone() };
        Ok(x.mean((2, 3))?)
    }

    fn candle(&self) -> Result<CandlePass> {
        Ok(self.pass)
    }

    fn tensor(&self, x: &Activation) -> Result<Tensor> {
        x.get::<Tensor>().cloned()
    }
}

/// ReLU whose gradient at 0 is 0, as PyTorch's is (Candle's own passes it on). NaN stays NaN, which Candle's loses.
pub(crate) fn relu(x: &Tensor) -> candle_core::Result<Tensor> {
    let positive = x.detach().relu()?.sign()?;
    x * positive
}

#[cfg(test)]
mod tests;
