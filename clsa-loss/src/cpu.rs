//! The pass over the candidates on CPUs: blocks stream through the cache, and no logit is stored.

use candle_core::{Device, Layout, Storage, Tensor};

use crate::f64_pass::RowSums;
use crate::kernels::{BLOCK, Block, Kernels, LIMIT, LaneSums, PackedQueries, Scratch};
use crate::matrix::Matrix;
use crate::parts::{Part, parts, reduce};
use crate::statistics::{Queries, Statistics, TOLERANCE_F32, TOLERANCE_F64, outranking_logits};
use crate::terms::to_host;
use crate::{LossError, f64_pass};

/// So few negatives that single-precision errors do not average out, and that double precision costs nothing.
const FEW: usize = 2 * BLOCK;

/// The log-sum-exp and mean of every row, in F64.
pub(crate) fn statistics(kernels: Kernels, queries: &Queries) -> Result<Statistics, LossError> {
    let (count, dim) = queries.rows.dims2()?;
    let thresholds = |tolerance| to_host(&outranking_logits(&queries.positive_logits, tolerance)?);
    let (in_f32, in_f64) = (thresholds(TOLERANCE_F32)?, thresholds(TOLERANCE_F64)?);
    let pass = CpuPass { kernels, queries, thresholds: Thresholds { in_f32, in_f64 } };
    let result = Tensor::from_vec(pass.run()?, (count, dim + 2), &Device::Cpu)?;
    let log_sum = result.narrow(1, dim, 1)?.squeeze(1)?;
    Ok(Statistics {
        mean: result.narrow(1, 0, dim)?,
        // The log-sum-exp is in f64, whose digits suffice to keep it as one number.
        shift: log_sum.zeros_like()?,
        log_sum,
        above_positive: result.narrow(1, dim + 1, 1)?.narrow(0, 0, queries.positive_logits.elem_count())?.squeeze(1)?,
    })
}

/// The pass over the candidates for rows (R, D) in f32 or f64.
struct CpuPass<'a> {
    kernels: Kernels,
    queries: &'a Queries<'a>,
    thresholds: Thresholds,
}

/// The logits above which a candidate outranks the positive of each of the first rows, for each precision of the pass.
struct Thresholds {
    in_f32: Vec<f64>,
    in_f64: Vec<f64>,
}

impl CpuPass<'_> {
    /// (R, D + 2), row by row: the mean, the log-sum-exp, and the number of candidates above the positive.
    fn run(&self) -> candle_core::Result<Vec<f64>> {
        let Queries { rows, candidates, .. } = self.queries;
        let (count, dim) = rows.dims2()?;
        let (rows, keys) = (rows.contiguous()?, candidates.keys.detach().contiguous()?);
        let (row_storage, row_layout) = rows.storage_and_layout();
        let rows = matrix(&row_storage, row_layout)?;
        let (key_storage, key_layout) = keys.storage_and_layout();
        let keys = matrix(&key_storage, key_layout)?;
        let bank = candidates.bank.map(|bank| bank.rows().storage_and_layout());
        let bank = bank.as_ref().map(|(storage, layout)| matrix(storage, layout)).transpose()?;

        // Where own keys are added later there are none here.
        let first = candidates.first_positive.min(keys.rows());
        let last = (first + self.thresholds.in_f64.len()).min(keys.rows());
        let positives = parts(keys, first..last);
        let mut negatives = parts(keys, 0..first);
        negatives.extend(parts(keys, last..keys.rows()));
        negatives.extend(bank.into_iter().flat_map(|bank| parts(bank, 0..bank.rows())));

        let mut scaled = vec![0.0; count * dim];
        rows.copy_to_f64(0..count, &mut scaled);
        for (row, scale) in scaled.chunks_exact_mut(dim).zip(&self.queries.inverse_temperatures) {
            row.iter_mut().for_each(|x| *x *= scale);
        }
        let in_f32 = match rows {
            Matrix::F32(..) if negatives.iter().map(|part| part.rows.len()).sum::<usize>() > FEW => {
                self.in_f32(&scaled, dim, &positives, &negatives)
            }
            _ => None,
        };
        Ok(in_f32.unwrap_or_else(|| {
            let all = [positives, negatives].concat();
            self.in_f64(&scaled, dim, &all)
        }))
    }

    /// The pass in single precision, except for the positives: they are few, and their logits matter most. There are negatives.
    /// `None` if a logit is too large for it.
    fn in_f32(&self, scaled: &[f64], dim: usize, positives: &[Part], negatives: &[Part]) -> Option<Vec<f64>> {
        let log2_e = std::f64::consts::LOG2_E;
        let thresholds: Vec<f64> = self.thresholds.in_f32.iter().map(|logit| logit * log2_e).collect();
        let with_pairs = negatives.iter().any(|part| self.multiplies_pairs(part));
        let queries = PackedQueries::new(scaled, log2_e, &thresholds, self.kernels.group(), dim, with_pairs);
        let (positives, negatives) = rayon::join(
            || f64_pass::sums(scaled, &self.thresholds.in_f64, positives, dim),
            || reduce(negatives, &|part| self.sums_of_part(&queries, part), &LaneSums::add),
        );
        // The limit is one of base-2 logits.
        let limit = f64::from(LIMIT) / log2_e;
        let too_large = |max: &f64| max.is_finite() && max.abs() > limit;
        if negatives.beyond_limit || positives.max.iter().any(too_large) {
            return None;
        }
        let result = self.joined(dim, &positives, &negatives);
        result.iter().all(|x| x.is_finite()).then_some(result)
    }

    /// Mean, log-sum-exp and count of every row, from the sums over positives, relative to their maximum, and those over
    /// negatives, relative to zero.
    fn joined(&self, dim: usize, positives: &RowSums, negatives: &LaneSums) -> Vec<f64> {
        let mut result = Vec::with_capacity(positives.max.len() * (dim + 2));
        for (query, max) in positives.max.iter().enumerate() {
            let scale = max.exp();
            let sum = positives.exponentials[query] * scale + negatives.exponentials[query];
            let positive_share = scale / sum;
            // Weights that were rounded to bf16 have another sum than the exponentials: the negatives' mean is taken of the
            // former, and their share of the whole from the latter.
            let negative_share = match negatives.weights[query] {
                0.0 => 0.0,
                weights => negatives.exponentials[query] / weights / sum,
            };
            let of_positives = &positives.weighted[query * dim..][..dim];
            let of_negatives = negatives.weighted_components(query, self.kernels.group(), dim);
            result.extend(
                of_positives.iter().zip(of_negatives).map(|(x, y)| x * positive_share + f64::from(y) * negative_share),
            );
            result.push(sum.ln());
            result.push(match positives.above.get(query) {
                Some(above) => f64::from(above + negatives.above[query]),
                None => 0.0,
            });
        }
        result
    }

    /// The pass in double precision.
    fn in_f64(&self, scaled: &[f64], dim: usize, parts: &[Part]) -> Vec<f64> {
        let sums = f64_pass::sums(scaled, &self.thresholds.in_f64, parts, dim);
        let mut result = Vec::with_capacity(sums.max.len() * (dim + 2));
        for (row, weighted) in sums.weighted.chunks_exact(dim).enumerate() {
            result.extend(weighted.iter().map(|x| x / sums.exponentials[row]));
            result.push(sums.max[row] + sums.exponentials[row].ln());
            result.push(f64::from(sums.above.get(row).copied().unwrap_or(0)));
        }
        result
    }

    /// Whether the products with this part are those of bf16 pairs.
    fn multiplies_pairs(&self, part: &Part) -> bool {
        self.kernels.multiplies_bf16() && matches!(part.source, Matrix::Bf16(..))
    }

    /// The sums over one part in single precision.
    fn sums_of_part(&self, queries: &PackedQueries, part: &Part) -> LaneSums {
        let dim = queries.dim;
        let mut scratch = Scratch::new(self.kernels.group(), dim);
        let mut sums = LaneSums::new(queries, self.kernels.group());
        let paired = self.multiplies_pairs(part);
        let stride = if paired { dim.div_ceil(2) } else { dim };
        let mut copy = vec![];
        for start in part.rows.clone().step_by(BLOCK) {
            let end = (start + BLOCK).min(part.rows.end);
            let next = part.source.units(end..(end + BLOCK).min(part.rows.end), paired);
            let rows = match part.source.units(start..end, paired) {
                // Whole blocks are read where they are.
                Some(units) if end - start == BLOCK => units,
                _ => {
                    copy.clear();
                    copy.resize(BLOCK * stride, 0);
                    part.source.copy_units(start..end, paired, &mut copy);
                    &copy
                }
            };
            let block = Block { rows, stride, paired, count: end - start, next: next.unwrap_or_default() };
            self.kernels.add_block(queries, &block, &mut scratch, &mut sums);
            if sums.beyond_limit {
                // The whole pass is then done again in double precision.
                break;
            }
        }
        sums
    }
}

/// The rows of a contiguous matrix on the CPU.
fn matrix<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<Matrix<'a>> {
    match storage {
        Storage::Cpu(storage) => Matrix::new(storage, layout),
        _ => candle_core::bail!("the rows or the candidates are not on the CPU"),
    }
}
