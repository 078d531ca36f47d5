//! Batch norm with residual and ReLU as one node of the graph, forward and backward.

use super::custom_gradient::{CustomGradient, Gradient3};
use super::relu;
use crate::backbone::BatchNorm;
use crate::error::Result;
use candle_core::{Tensor, Var};

/// `relu?(batch_norm(x) + residual?)` with the statistics of each of `splits` groups of the batch; the running statistics
/// move to their mean. `affine` is (2, C): scale and shift. Of the activations, argument and value are kept.
pub(crate) fn batch_norm(
    x: &Tensor,
    affine: &Tensor,
    residual: Option<&Tensor>,
    with_relu: bool,
    bn: &BatchNorm,
    splits: usize,
) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let count = BatchNorm::values_per_group(splits, [n, c, h, w])?;
    let (dtype, stat) = (x.dtype(), affine.dtype());
    let grouped = move |x: &Tensor| x.to_dtype(stat)?.reshape((splits, n / splits, c, h * w));
    let channel = move |affine: &Tensor, row: usize| affine.get(row)?.reshape((1, 1, c, 1));
    let over = (1, 3);
    let x0 = grouped(&x.detach())?;
    let mean = x0.mean_keepdim(over)?;
    let centered = x0.broadcast_sub(&mean)?;
    let var = centered.sqr()?.mean_keepdim(over)?;
    let unbiased = (var.mean(0)?.flatten_all()? * (count as f64 / (count - 1) as f64))?;
    update_running_statistic(&bn.running_mean.var, &mean.mean(0)?.flatten_all()?)?;
    update_running_statistic(&bn.running_var.var, &unbiased)?;
    let inv_std = (var + BatchNorm::EPS)?.sqrt()?.recip()?;
    let affine0 = affine.detach();
    let mut value = centered
        .broadcast_mul(&inv_std.broadcast_mul(&channel(&affine0, 0)?)?)?
        .broadcast_add(&channel(&affine0, 1)?)?
        .reshape((n, c, h, w))?
        .to_dtype(dtype)?;
    if let Some(residual) = residual {
        value = (value + residual.detach())?;
    }
    if with_relu {
        value = relu(&value)?;
    }
    let residual_needed = residual.is_some();
    let gradient = move |[x, affine, _]: [Tensor; 3], value: &Tensor, grad: &Tensor| -> Gradient3 {
        // The value of a ReLU is positive where the gradient passes.
        let grad = if with_relu { (grad * value.sign()?)? } else { grad.contiguous()? };
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
    CustomGradient::node(value, [x, affine, residual.unwrap_or(&affine0)], gradient)
}

/// Moves a running statistic towards that of the batch.
fn update_running_statistic(running: &Var, batch: &Tensor) -> Result<()> {
    let kept = (running.as_detached_tensor() * (1.0 - BatchNorm::MOMENTUM))?;
    running.set(&(kept + (batch * BatchNorm::MOMENTUM)?)?)?;
    Ok(())
}
