//! The loss with the batch's own weak views as candidates (SimCLR's form of InfoNCE, complemented with DDM).

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};

use crate::LossError;
use crate::embeddings::Embeddings;
use crate::terms::{Constants, Terms};

/// Logits in memory at a time, as in the pass over a bank.
const LOGITS: usize = 1 << 22;

/// The terms and their gradient, by blocks of samples: candidates are few here, so that a whole row of logits fits and both
/// the query's and the candidates' gradient come from it.
pub(crate) fn terms(constants: Constants, embeddings: &Embeddings) -> Result<Terms, LossError> {
    let columns = (embeddings.weak * embeddings.batch).max(1);
    terms_in_blocks(constants, embeddings, (LOGITS / columns).clamp(1, embeddings.batch))
}

/// The same with `block` samples at a time.
fn terms_in_blocks(constants: Constants, embeddings: &Embeddings, block: usize) -> Result<Terms, LossError> {
    if embeddings.weak < 2 {
        return Err(LossError::TooFewViews { got: embeddings.weak });
    }
    let mut sums = Sums::new(constants, embeddings)?;
    for start in (0..embeddings.batch).step_by(block) {
        sums.add_samples(start..(start + block).min(embeddings.batch))?;
    }
    Ok(sums.terms()?)
}

/// The terms and the gradient as far as the samples are done.
struct Sums<'a> {
    constants: Constants,
    embeddings: &'a Embeddings,
    /// The rows of all views, without gradient.
    z: Tensor,
    /// The rows of the weak views: (W * N, D).
    candidates: Tensor,
    contrastive: Vec<f64>,
    ddm: Vec<f64>,
    /// For each sample of the first weak view, the number of candidates nearer than its positive.
    above_positive: Vec<f64>,
    /// The gradient of every row as a query. Written in place.
    gradient: Tensor,
    /// The gradient of every candidate as such.
    candidate_gradient: Tensor,
}

/// The columns of a block of samples, and what belongs to the weak view whose rows are compared with them.
struct Block<'a> {
    samples: Range<usize>,
    /// For each weak view, 1 in the column of the row's own sample in it, 0 elsewhere: (samples, W * N).
    same_sample: &'a [Tensor],
    /// Minus infinity in the row's own column, 0 elsewhere.
    excluded: Tensor,
}

impl<'a> Sums<'a> {
    fn new(constants: Constants, embeddings: &'a Embeddings) -> candle_core::Result<Self> {
        let Embeddings { weak, strong, batch, dim, .. } = *embeddings;
        let z = embeddings.rows.detach();
        let columns = weak * batch;
        Ok(Self {
            candidates: z.narrow(0, 0, columns)?,
            contrastive: vec![0.0; weak],
            ddm: vec![0.0; strong],
            above_positive: Vec::with_capacity(batch),
            candidate_gradient: Tensor::zeros((columns, dim), z.dtype(), z.device())?,
            gradient: Tensor::zeros(((weak + strong) * batch, dim), z.dtype(), z.device())?,
            constants,
            embeddings,
            z,
        })
    }

    /// Adds the terms of a range of samples.
    fn add_samples(&mut self, samples: Range<usize>) -> candle_core::Result<()> {
        let Embeddings { weak, strong, batch, dim, .. } = *self.embeddings;
        let Constants { temperature, ddm_temperature, .. } = self.constants;
        let (dtype, device) = (self.z.dtype(), self.z.device().clone());
        let (columns, count) = (weak * batch, samples.len());
        let same_sample: Vec<Tensor> = (0..weak)
            .map(|i| same_sample(&samples, i * batch, columns)?.to_device(&device)?.to_dtype(dtype))
            .collect::<candle_core::Result<_>>()?;
        let mut strong_gradients = vec![Tensor::zeros((count, dim), dtype, &device)?; strong];
        for i in 0..weak {
            let excluded = same_sample[i].to_dtype(DType::U8)?.where_cond(
                &Tensor::full(f32::NEG_INFINITY, (count, columns), &device)?.to_dtype(dtype)?,
                &same_sample[i].zeros_like()?,
            )?;
            let block = Block { samples: samples.clone(), same_sample: &same_sample, excluded };
            let similarity = self.rows(i, &samples)?.matmul(&self.candidates.t()?)?;
            let p = self.add_contrastive(i, &block, &(&similarity / temperature)?)?;
            if strong == 0 {
                continue;
            }
            let p = if temperature == ddm_temperature {
                p
            } else {
                Softmax::new(&((similarity / ddm_temperature)? + &block.excluded)?)?.p
            };
            self.add_ddm(&p, &block, &mut strong_gradients)?;
        }
        for (j, strong_gradient) in strong_gradients.iter().enumerate() {
            self.gradient.slice_set(strong_gradient, 0, (weak + j) * batch + samples.start)?;
        }
        Ok(())
    }

    /// Adds the contrastive term of weak view `i`: the mean over the positives of their cross-entropy. Returns the softmax of
    /// the logits.
    fn add_contrastive(&mut self, i: usize, block: &Block, logits: &Tensor) -> candle_core::Result<Tensor> {
        let Embeddings { weak, batch, .. } = *self.embeddings;
        let Block { samples, same_sample, excluded } = block;
        let Softmax { log_sum_exp, p } = Softmax::new(&(logits + excluded)?)?;
        let mut positive = same_sample[0].zeros_like()?;
        for (j, same) in same_sample.iter().enumerate() {
            if j != i {
                positive = (positive + same)?;
            }
        }
        let positive = (positive / (weak - 1) as f64)?;
        let term = (log_sum_exp - (&positive * logits)?.sum_keepdim(1)?)?;
        self.contrastive[i] += sum(&term)? / batch as f64;
        if i == 0 {
            // Retrieval: the positive is the second weak view; the others of the sample are not in its way.
            let first = (&same_sample[1] * logits)?.sum_keepdim(1)?;
            let negatives = (1.0 - (&positive * (weak - 1) as f64)?)?;
            let above = ((logits + excluded)?.broadcast_gt(&first)?.to_dtype(logits.dtype())? * negatives)?;
            let above = above.sum(1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            self.above_positive.extend(above.into_iter().map(f64::from));
        }
        let weights = ((&p - positive)? * (1.0 / (batch as f64 * self.constants.temperature)))?;
        self.gradient.slice_set(&weights.matmul(&self.candidates)?, 0, i * batch + samples.start)?;
        let rows = self.rows(i, samples)?;
        self.candidate_gradient = (&self.candidate_gradient + weights.t()?.matmul(&rows)?)?;
        Ok(p)
    }

    /// Adds the DDM term of a weak view, whose distribution `p` is a target and takes no gradient, with every strong view.
    fn add_ddm(&mut self, p: &Tensor, block: &Block, strong_gradients: &mut [Tensor]) -> candle_core::Result<()> {
        let Embeddings { weak, batch, .. } = *self.embeddings;
        let Constants { ddm_temperature, alpha, .. } = self.constants;
        let scale = alpha / (batch as f64 * ddm_temperature);
        for (j, strong_gradient) in strong_gradients.iter_mut().enumerate() {
            let rows = self.rows(weak + j, &block.samples)?;
            let logits = (rows.matmul(&self.candidates.t()?)? / ddm_temperature)?;
            let Softmax { log_sum_exp, p: q } = Softmax::new(&(&logits + &block.excluded)?)?;
            let term = (log_sum_exp - (p * &logits)?.sum_keepdim(1)?)?;
            self.ddm[j] += sum(&term)? / batch as f64;
            let weights = ((q - p)? * scale)?;
            *strong_gradient = (&*strong_gradient + weights.matmul(&self.candidates)?)?;
            self.candidate_gradient = (&self.candidate_gradient + weights.t()?.matmul(&rows)?)?;
        }
        Ok(())
    }

    /// The rows of some samples in a view.
    fn rows(&self, view: usize, samples: &Range<usize>) -> candle_core::Result<Tensor> {
        self.z.narrow(0, view * self.embeddings.batch + samples.start, samples.len())
    }

    /// The terms of all samples.
    fn terms(self) -> candle_core::Result<Terms> {
        let of_strong = self.embeddings.strong * self.embeddings.batch;
        let gradient = (self.gradient + self.candidate_gradient.pad_with_zeros(0, 0, of_strong)?)?;
        let measures = [self.contrastive, self.ddm, self.above_positive].concat();
        let length = measures.len();
        Ok(Terms { measures: Tensor::from_vec(measures, length, &Device::Cpu)?, gradient })
    }
}

/// (samples, columns): 1 in column `offset + sample`, 0 elsewhere.
fn same_sample(samples: &Range<usize>, offset: usize, columns: usize) -> candle_core::Result<Tensor> {
    let mut values = vec![0u8; samples.len() * columns];
    for (row, sample) in samples.clone().enumerate() {
        values[row * columns + offset + sample] = 1;
    }
    Tensor::from_vec(values, (samples.len(), columns), &Device::Cpu)
}

/// The softmax of every row of logits, with its normalizer.
struct Softmax {
    /// (rows, 1).
    log_sum_exp: Tensor,
    /// (rows, columns).
    p: Tensor,
}

impl Softmax {
    fn new(logits: &Tensor) -> candle_core::Result<Self> {
        let max = logits.max_keepdim(D::Minus1)?;
        let exponentials = logits.broadcast_sub(&max)?.exp()?;
        let sum = exponentials.sum_keepdim(D::Minus1)?;
        let p = exponentials.broadcast_div(&sum)?;
        Ok(Self { log_sum_exp: (max + sum.log()?)?, p })
    }
}

fn sum(values: &Tensor) -> candle_core::Result<f64> {
    // Moved before it is cast: not every device has f64.
    values.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_samples_at_a_time_changes_nothing() {
        let view = || Tensor::randn(0f64, 1.0, (11, 6), &Device::Cpu).unwrap();
        let (weak, strong) = ([view(), view(), view()], [view(), view()]);
        let embeddings = Embeddings::new(&weak, &strong).unwrap().unwrap();
        let constants = Constants { temperature: 0.2, ddm_temperature: 0.1, alpha: 1.0 };
        let whole = terms_in_blocks(constants, &embeddings, 11).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let near = |a: &Tensor, b: &Tensor| {
            a.dims() == b.dims() && flat(a).iter().zip(&flat(b)).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        let above_positive = |terms: &Terms| flat(&terms.measures)[3 + 2..].to_vec();
        for block in [1, 4, 10] {
            let parts = terms_in_blocks(constants, &embeddings, block).unwrap();
            assert!(near(&parts.measures, &whole.measures), "{block} samples at a time");
            assert!(near(&parts.gradient, &whole.gradient), "{block} samples at a time");
            assert_eq!(above_positive(&parts), above_positive(&whole), "{block} samples at a time");
        }
    }
}
