//! The pass over the candidates on a GPU: for each block of candidates two matrix products, and between them one kernel that
//! makes scores into exponentials where they lie.

use candle_core::{DType, Tensor};
use clsa_cuda::{Gpu, Ops, SoftmaxBlock};

use crate::statistics::{Queries, Statistics, TOLERANCE_F32, outranking_logits};

/// How many scores to have in memory at a time: 16 MiB, which the cache of a GPU of Hopper's size holds.
pub(crate) const SCORES: usize = 1 << 22;

/// The log-sum-exp and mean of every row, for rows in F32. A block has as many candidates as give at most so many scores, and one at
/// least.
pub(crate) fn statistics<G: Gpu>(
    ops: &Ops<G>,
    queries: &Queries,
    scores_of_block: usize,
) -> clsa_cuda::Result<Statistics> {
    let device = queries.rows.device();
    let (count, dim) = queries.rows.dims2()?;
    let rows = queries.rows.contiguous()?;
    let inverse: Vec<f32> = queries.inverse_temperatures.iter().map(|&inverse| inverse as f32).collect();
    let inverse = Tensor::from_vec(inverse, count, device)?;
    let counted = queries.positive_logits.elem_count();
    // As scores, which are compared before they are divided by the temperature.
    let thresholds =
        outranking_logits(&queries.positive_logits, TOLERANCE_F32)?.div(&inverse.narrow(0, 0, counted)?)?;

    // A running maximum, and the sums relative to it: when it grows, what was summed before decays.
    let max = Tensor::full(f32::NEG_INFINITY, count, device)?;
    let sum = Tensor::zeros(count, DType::F32, device)?;
    let above = Tensor::zeros(counted, DType::F32, device)?;
    let mut weighted = Tensor::zeros((count, dim), DType::F32, device)?;
    let block = (scores_of_block / count).max(1);
    let bank = queries.candidates.bank.map(|bank| bank.rows());
    for source in [Some(queries.candidates.keys), bank].into_iter().flatten() {
        let length = source.dims()[0];
        for start in (0..length).step_by(block) {
            let part = source.detach().narrow(0, start, block.min(length - start))?;
            let part = part.to_dtype(DType::F32)?.contiguous()?;
            let scores = rows.matmul(&part.t()?)?;
            ops.softmax_block(SoftmaxBlock {
                scores: &scores,
                max: &max,
                sum: &sum,
                weighted: &weighted,
                inverse_temperatures: &inverse,
                above: &above,
                thresholds: &thresholds,
            })?;
            // The scores have become the exponentials, which are the weights.
            weighted = (weighted + scores.matmul(&part)?)?;
        }
    }
    let mean = weighted.broadcast_div(&sum.unsqueeze(1)?)?;
    Ok(Statistics { shift: max, log_sum: sum.log()?, mean, above_positive: above })
}

#[cfg(all(test, feature = "host-kernels"))]
mod tests;
