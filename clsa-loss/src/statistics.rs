//! What one pass over the candidates takes and yields for every row, whatever the engine.

use candle_core::Tensor;

use crate::Candidates;

/// Rows to be compared with candidates.
pub(crate) struct Queries<'a> {
    /// (R, D), without gradient.
    pub rows: Tensor,
    /// One over the temperature of each row: R values.
    pub inverse_temperatures: Vec<f64>,
    /// The logit of the positive of each of the first rows, as many as retrieval is counted for; a vector of the engine's
    /// precision.
    pub positive_logits: Tensor,
    /// The columns of the logits.
    pub candidates: Candidates<'a>,
}

/// The softmax of each row over the candidates, `p = softmax(row · Bᵀ / temperature)`, by its log-sum-exp and its mean.
/// All tensors are of the engine's precision.
pub(crate) struct Statistics {
    /// The score (row · candidate, not over the temperature) that the sum of each row is relative to: (R).
    pub shift: Tensor,
    /// The log of the sum of the exponentials of `(score - shift) / temperature`: (R). The log-sum-exp is `log_sum + shift /
    /// temperature`; they stay apart because adding a large shift would cost digits.
    pub log_sum: Tensor,
    /// The candidate expected under p, `Σ_b p(b) · b`: (R, D).
    pub mean: Tensor,
    /// The number of candidates with a logit above the positive's, for each row that has a positive logit in the queries.
    pub above_positive: Tensor,
}

/// How far above the positive's logit another must be to count, relative to the logit, in single precision: the positive
/// itself is among the candidates, and its logit there is rounded in another order.
pub(crate) const TOLERANCE_F32: f64 = 2e-6;
/// The same in double precision.
pub(crate) const TOLERANCE_F64: f64 = 1e-12;

/// The logits above which a candidate outranks a positive, from the positives' logits.
pub(crate) fn outranking_logits(positives: &Tensor, tolerance: f64) -> candle_core::Result<Tensor> {
    positives + positives.abs()?.affine(tolerance, tolerance)?
}
