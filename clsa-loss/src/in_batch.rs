//! The loss with the batch's own weak views as candidates (SimCLR's form of InfoNCE, complemented with DDM).

use candle_core::{D, DType, Device, Tensor};

use crate::loss::Terms;
use crate::views::Views;
use crate::{ClsaLoss, LossError};

/// Logits in memory at a time, as in the pass over a bank.
const LOGITS: usize = 1 << 22;

/// The terms and their gradient for every row, by blocks of samples: candidates are few here, so that a whole row of logits
/// fits and both the query's and the candidates' gradient come from it.
pub(crate) fn terms(loss: &ClsaLoss, views: &Views) -> Result<Terms, LossError> {
    let columns = (views.weak * views.batch).max(1);
    terms_in_blocks(loss, views, (LOGITS / columns).clamp(1, views.batch))
}

/// The same with `block` samples at a time.
fn terms_in_blocks(loss: &ClsaLoss, views: &Views, block: usize) -> Result<Terms, LossError> {
    let Views { weak, strong, batch, dim, .. } = *views;
    if weak < 2 {
        return Err(LossError::TooFewViews { got: weak });
    }
    let z = views.embeddings.detach();
    let (dtype, device) = (z.dtype(), z.device());
    let columns = weak * batch;
    let candidates = z.narrow(0, 0, columns)?;
    let contrastive_scale = 1.0 / (batch as f64 * loss.temperature);
    let ddm_scale = loss.alpha / (batch as f64 * loss.ddm_temperature);

    let mut contrastive = vec![0.0; weak];
    let mut ddm = vec![0.0; strong];
    let mut above_positive = Vec::with_capacity(batch);
    let mut candidate_gradient = Tensor::zeros((columns, dim), dtype, device)?;
    let gradient = Tensor::zeros(((weak + strong) * batch, dim), dtype, device)?;
    for start in (0..batch).step_by(block) {
        let samples = block.min(batch - start);
        // same_sample[i]: 1 where the column is the row's own sample in weak view i.
        let same_sample: Vec<Tensor> = (0..weak)
            .map(|i| same_sample(start, samples, i * batch, columns)?.to_device(device)?.to_dtype(dtype))
            .collect::<candle_core::Result<_>>()?;
        let rows_of = |view: usize| z.narrow(0, view * batch + start, samples);
        let mut strong_gradients = vec![Tensor::zeros((samples, dim), dtype, device)?; strong];
        for i in 0..weak {
            let rows = rows_of(i)?;
            // Minus infinity in the row's own column.
            let excluded = same_sample[i].to_dtype(DType::U8)?.where_cond(
                &Tensor::full(f32::NEG_INFINITY, (samples, columns), device)?.to_dtype(dtype)?,
                &same_sample[i].zeros_like()?,
            )?;
            let similarity = rows.matmul(&candidates.t()?)?;
            let logits = (&similarity / loss.temperature)?;
            let (log_sum_exp, p) = log_sum_exp_and_softmax(&(&logits + &excluded)?)?;

            // Contrastive term: the mean over the positives of their cross-entropy.
            let mut positive = same_sample[0].zeros_like()?;
            for (j, same) in same_sample.iter().enumerate() {
                if j != i {
                    positive = (positive + same)?;
                }
            }
            let positive = (positive / (weak - 1) as f64)?;
            let term = (log_sum_exp - (&positive * &logits)?.sum_keepdim(1)?)?;
            contrastive[i] += sum(&term)? / batch as f64;
            if i == 0 {
                let first = (&same_sample[1] * &logits)?.sum_keepdim(1)?;
                let negatives = (1.0 - (&positive * (weak - 1) as f64)?)?;
                let above = ((&logits + &excluded)?.broadcast_gt(&first)?.to_dtype(dtype)? * negatives)?;
                let above = above.sum(1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
                above_positive.extend(above.into_iter().map(|n| n as u32));
            }
            let weights = ((&p - positive)? * contrastive_scale)?;
            gradient.slice_set(&weights.matmul(&candidates)?, 0, i * batch + start)?;
            candidate_gradient = (candidate_gradient + weights.t()?.matmul(&rows)?)?;

            // DDM term of each pair (weak i, strong j): p is a target, and takes no gradient.
            if strong == 0 {
                continue;
            }
            let p = if loss.temperature == loss.ddm_temperature {
                p
            } else {
                log_sum_exp_and_softmax(&((similarity / loss.ddm_temperature)? + &excluded)?)?.1
            };
            for j in 0..strong {
                let rows = rows_of(weak + j)?;
                let logits = (rows.matmul(&candidates.t()?)? / loss.ddm_temperature)?;
                let (log_sum_exp, q) = log_sum_exp_and_softmax(&(&logits + &excluded)?)?;
                let term = (log_sum_exp - (&p * &logits)?.sum_keepdim(1)?)?;
                ddm[j] += sum(&term)? / batch as f64;
                let weights = ((q - &p)? * ddm_scale)?;
                strong_gradients[j] = (&strong_gradients[j] + weights.matmul(&candidates)?)?;
                candidate_gradient = (candidate_gradient + weights.t()?.matmul(&rows)?)?;
            }
        }
        for (j, strong_gradient) in strong_gradients.iter().enumerate() {
            gradient.slice_set(strong_gradient, 0, (weak + j) * batch + start)?;
        }
    }
    let gradient = (gradient + candidate_gradient.pad_with_zeros(0, 0, strong * batch)?)?;
    Ok(Terms { contrastive_per_view: contrastive, ddm_per_view: ddm, above_positive, gradient })
}

/// (samples, columns): 1 in column `offset + start + row`, 0 elsewhere.
fn same_sample(start: usize, samples: usize, offset: usize, columns: usize) -> candle_core::Result<Tensor> {
    let mut values = vec![0u8; samples * columns];
    for row in 0..samples {
        values[row * columns + offset + start + row] = 1;
    }
    Tensor::from_vec(values, (samples, columns), &Device::Cpu)
}

/// The log-sum-exp (rows, 1) and the softmax (rows, columns) of each row.
fn log_sum_exp_and_softmax(logits: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
    let max = logits.max_keepdim(D::Minus1)?;
    let exponentials = logits.broadcast_sub(&max)?.exp()?;
    let sum = exponentials.sum_keepdim(D::Minus1)?;
    let softmax = exponentials.broadcast_div(&sum)?;
    Ok(((max + sum.log()?)?, softmax))
}

fn sum(values: &Tensor) -> candle_core::Result<f64> {
    // Moved before it is cast: not every device has f64.
    values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_blocks_changes_nothing() {
        let view = || Tensor::randn(0f64, 1.0, (11, 6), &Device::Cpu).unwrap();
        let (weak, strong) = ([view(), view(), view()], [view(), view()]);
        let views = Views::new(&weak, &strong).unwrap().unwrap();
        let loss = ClsaLoss { ddm_temperature: 0.1, ..ClsaLoss::default() };
        let whole = terms_in_blocks(&loss, &views, 11).unwrap();
        let near = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for block in [1, 4, 10] {
            let parts = terms_in_blocks(&loss, &views, block).unwrap();
            assert!(near(&parts.contrastive_per_view, &whole.contrastive_per_view), "{block} samples at a time");
            assert!(near(&parts.ddm_per_view, &whole.ddm_per_view), "{block} samples at a time");
            assert!(near(&flat(&parts.gradient), &flat(&whole.gradient)), "{block} samples at a time");
            assert_eq!(parts.above_positive, whole.above_positive, "{block} samples at a time");
        }
    }
}
