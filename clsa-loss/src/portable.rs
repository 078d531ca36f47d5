//! The pass over the candidates in Candle operations: any device, any dtype.

use candle_core::{DType, Device, Tensor};

use crate::LossError;
use crate::exact::{HighLow, Products};
use crate::statistics::{Queries, Statistics, TOLERANCE_F32, TOLERANCE_F64, outranking_logits};

/// Logits, or components of candidates, in memory at a time; 16 MiB in f32.
const VALUES: usize = 1 << 22;

/// The log-sum-exp and mean of every row, in F64 for F64 rows and in F32 for others.
pub(crate) fn statistics(queries: &Queries) -> Result<Statistics, LossError> {
    let dtype = queries.rows.dtype();
    let device = queries.rows.device();
    let (count, dim) = queries.rows.dims2()?;
    let rows = HighLow::new(&queries.rows.contiguous()?)?;
    let inverse_temperatures = Tensor::new(&queries.inverse_temperatures[..], &Device::Cpu)?.reshape((count, 1))?;
    // Cast before it is moved: not every device has f64.
    let inverse_temperatures = inverse_temperatures.to_dtype(dtype)?.to_device(device)?;
    let tolerance = if dtype == DType::F64 { TOLERANCE_F64 } else { TOLERANCE_F32 };
    let counted = queries.positive_logits.elem_count();
    // As scores, which are compared before they are divided by the temperature.
    let outranking = outranking_logits(&queries.positive_logits.unsqueeze(1)?, tolerance)?
        .div(&inverse_temperatures.narrow(0, 0, counted)?)?;

    // A running maximum, and the sums relative to it: when it grows, what was summed before decays.
    let mut max = Tensor::full(f32::NEG_INFINITY, (count, 1), device)?.to_dtype(dtype)?;
    let mut sum = Tensor::zeros((count, 1), dtype, device)?;
    let mut weighted = Tensor::zeros((count, dim), dtype, device)?;
    let mut above = Tensor::zeros(counted, DType::F32, device)?;
    let block = (VALUES / count.max(dim)).max(1);
    let bank = queries.candidates.bank.map(|bank| bank.rows());
    for source in [Some(queries.candidates.keys), bank].into_iter().flatten() {
        let length = source.dims()[0];
        for start in (0..length).step_by(block) {
            let part = source.detach().narrow(0, start, block.min(length - start))?.to_dtype(dtype)?.contiguous()?;
            let Products { leading: scores, correction } = rows.products(&HighLow::new(&part)?)?;
            let new_max = max.maximum(&scores.max_keepdim(1)?)?;
            let decay = max.sub(&new_max)?.mul(&inverse_temperatures)?.exp()?;
            let mut shifted = scores.broadcast_sub(&new_max)?;
            if let Some(correction) = correction {
                shifted = (shifted + correction)?;
            }
            let exponentials = shifted.broadcast_mul(&inverse_temperatures)?.exp()?;
            sum = (sum.mul(&decay)? + exponentials.sum_keepdim(1)?)?;
            weighted = (weighted.broadcast_mul(&decay)? + exponentials.matmul(&part)?)?;
            max = new_max;
            let outranking = (&outranking - max.narrow(0, 0, counted)?)?;
            let ahead = shifted.narrow(0, 0, counted)?.broadcast_gt(&outranking)?;
            above = (above + ahead.to_dtype(DType::F32)?.sum(1)?)?;
        }
    }
    Ok(Statistics {
        shift: max.squeeze(1)?,
        log_sum: sum.log()?.squeeze(1)?,
        mean: weighted.broadcast_div(&sum)?,
        above_positive: above.to_dtype(dtype)?,
    })
}
