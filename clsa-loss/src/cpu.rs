//! The pass over the candidates on CPUs: blocks stream through the cache, and no logit is stored.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Storage};

use crate::kernels::{self, BLOCK, Block, Kernels, PackedQueries, Scratch};
use crate::matrix::Matrix;
use crate::statistics::{Queries, Statistics, TOLERANCE_F32, TOLERANCE_F64, outranking_logit};
use crate::{LossError, wide};

/// Most parts that the candidates of one source are divided into. The parts do not depend on the number of threads, and
/// their sums are added in a fixed order: so the bits do not either.
const PARTS: usize = 32;

/// Least candidates in a part.
const PART: usize = 4 * BLOCK;

/// So few negatives that single-precision errors do not average out, and that double precision costs nothing.
const FEW: usize = 2 * BLOCK;

/// The log-sum-exp and mean of every row, in F64.
pub(crate) fn statistics(queries: &Queries) -> Result<Statistics, LossError> {
    let dim = queries.rows.dims()[1];
    let pass = CpuPass { kernels: Kernels::detect()?, queries };
    let result = queries.rows.contiguous()?.apply_op1_no_bwd(&pass)?;
    let above = result.narrow(1, dim + 1, 1)?.narrow(0, 0, queries.positive_logits.len())?;
    Ok(Statistics {
        mean: result.narrow(1, 0, dim)?,
        log_sum: result.narrow(1, dim, 1)?.squeeze(1)?,
        shift: result.narrow(1, dim, 1)?.squeeze(1)?.zeros_like()?,
        above_positive: above.squeeze(1)?.to_vec1::<f64>()?.into_iter().map(|n| n as u32).collect(),
    })
}

/// From rows (R, D) in f32 or f64 to (R, D + 2) in f64: the mean, the log-sum-exp, and the number of candidates above the
/// positive.
struct CpuPass<'a> {
    kernels: Kernels,
    queries: &'a Queries<'a>,
}

impl CustomOp1 for CpuPass<'_> {
    fn name(&self) -> &'static str {
        "clsa-loss-pass"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let candidates = &self.queries.candidates;
        let (count, dim) = layout.shape().dims2()?;
        let keys = candidates.keys.detach().contiguous()?;
        let (key_storage, key_layout) = keys.storage_and_layout();
        let keys = matrix(&key_storage, key_layout)?;
        let bank = candidates.bank.map(|bank| bank.rows().storage_and_layout());
        let bank = bank.as_ref().map(|(storage, layout)| matrix(storage, layout)).transpose()?;

        let first = candidates.first_positive;
        let last = first + self.queries.positive_logits.len();
        let positives = parts(keys, first..last);
        let mut negatives = parts(keys, 0..first);
        negatives.extend(parts(keys, last..keys.rows()));
        negatives.extend(bank.into_iter().flat_map(|bank| parts(bank, 0..bank.rows())));

        let rows = Matrix::new(storage, layout)?;
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
        let result = in_f32.unwrap_or_else(|| {
            let all = [positives, negatives].concat();
            self.in_f64(&scaled, dim, &all)
        });
        Ok((CpuStorage::F64(result), Shape::from((count, dim + 2))))
    }
}

impl CpuPass<'_> {
    /// The pass in single precision, but for the positives: they are few, and the logits that matter most. None when a logit is
    /// too large for it.
    fn in_f32(&self, scaled: &[f64], dim: usize, positives: &[Part], negatives: &[Part]) -> Option<Vec<f64>> {
        let group = self.kernels.group();
        let log2_e = std::f64::consts::LOG2_E;
        let thresholds: Vec<f64> = self.thresholds(TOLERANCE_F32).iter().map(|logit| logit * log2_e).collect();
        let with_pairs = negatives.iter().any(|part| self.multiplies_pairs(part));
        let queries = PackedQueries::new(scaled, log2_e, &thresholds, group, dim, with_pairs);
        let (near, far) = rayon::join(
            || wide::sums(scaled, &self.thresholds(TOLERANCE_F64), positives, dim),
            || match negatives {
                [] => kernels::Sums::new(&queries, group),
                _ => reduce(negatives, &|part| self.add_part(&queries, part), &kernels::Sums::add),
            },
        );
        // The limit is of logits to the base 2.
        let limit = f64::from(kernels::LIMIT) / log2_e;
        if far.beyond_limit || near.max.iter().any(|max| max.abs() > limit) {
            return None;
        }
        let components = dim.next_multiple_of(kernels::TILE);
        let mut result = Vec::with_capacity(near.max.len() * (dim + 2));
        for (query, max) in near.max.iter().enumerate() {
            let near_scale = max.exp();
            let sum = near.exponentials[query] * near_scale + far.exponentials[query];
            let near_share = near_scale / sum;
            let far_share = match far.weights[query] {
                0.0 => 0.0,
                weights => far.exponentials[query] / weights / sum,
            };
            let (first, lane) = (query / group, query % group);
            result.extend((0..dim).map(|d| {
                let far_weighted = f64::from(far.weighted[(first * components + d) * group + lane]);
                near.weighted[query * dim + d] * near_share + far_weighted * far_share
            }));
            result.push(sum.ln());
            result.push(match near.above.get(query) {
                Some(above) => f64::from(above + far.above[query]),
                None => 0.0,
            });
        }
        result.iter().all(|x| x.is_finite()).then_some(result)
    }

    /// The pass in double precision.
    fn in_f64(&self, scaled: &[f64], dim: usize, parts: &[Part]) -> Vec<f64> {
        let sums = wide::sums(scaled, &self.thresholds(TOLERANCE_F64), parts, dim);
        let mut result = Vec::with_capacity(sums.max.len() * (dim + 2));
        for (row, weighted) in sums.weighted.chunks_exact(dim).enumerate() {
            result.extend(weighted.iter().map(|x| x / sums.exponentials[row]));
            result.push(sums.max[row] + sums.exponentials[row].ln());
            result.push(f64::from(sums.above.get(row).copied().unwrap_or(0)));
        }
        result
    }

    /// The logits above which a candidate outranks the positive of each of the first rows.
    fn thresholds(&self, tolerance: f64) -> Vec<f64> {
        self.queries.positive_logits.iter().map(|&logit| outranking_logit(logit, tolerance)).collect()
    }

    fn multiplies_pairs(&self, part: &Part) -> bool {
        self.kernels.multiplies_bf16() && matches!(part.source, Matrix::Bf16(..))
    }

    /// The sums over one part in single precision.
    fn add_part(&self, queries: &PackedQueries, part: &Part) -> kernels::Sums {
        let dim = queries.dim;
        let mut scratch = Scratch::new(self.kernels.group(), dim);
        let mut sums = kernels::Sums::new(queries, self.kernels.group());
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
                break;
            }
        }
        sums
    }
}

/// Consecutive candidates of one source.
#[derive(Clone)]
pub(crate) struct Part<'a> {
    pub source: Matrix<'a>,
    pub rows: Range<usize>,
}

/// Candidates in parts that depend on their number alone.
fn parts(source: Matrix, rows: Range<usize>) -> Vec<Part> {
    let size = rows.len().div_ceil(PARTS).next_multiple_of(BLOCK).max(PART);
    rows.clone().step_by(size).map(|start| Part { source, rows: start..(start + size).min(rows.end) }).collect()
}

/// The sums of all parts, on all threads; added as a balanced tree, so that few are alive at a time.
pub(crate) fn reduce<S: Send>(
    parts: &[Part],
    sum: &(impl Fn(&Part) -> S + Sync),
    add: &(impl Fn(S, S) -> S + Sync),
) -> S {
    if let [part] = parts {
        return sum(part);
    }
    let (left, right) = parts.split_at(parts.len().div_ceil(2));
    let (left, right) = rayon::join(|| reduce(left, sum, add), || reduce(right, sum, add));
    add(left, right)
}

fn matrix<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<Matrix<'a>> {
    match storage {
        Storage::Cpu(storage) => Matrix::new(storage, layout),
        _ => candle_core::bail!("the candidates are not on the CPU"),
    }
}
