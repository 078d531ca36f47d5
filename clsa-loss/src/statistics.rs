//! What one pass over the candidates yields for every row.

use candle_core::Tensor;

use crate::Candidates;

/// Rows to be compared with candidates.
pub(crate) struct Queries<'a> {
    /// (R, D), without gradient.
    pub rows: Tensor,
    /// One over the temperature of each row: R values.
    pub inverse_temperatures: Vec<f64>,
    /// The logit of the positive of each of the first rows, as many as retrieval is counted for.
    pub positive_logits: Vec<f64>,
    /// The columns of the logits.
    pub candidates: Candidates<'a>,
}

/// The softmax of each row over the candidates, without the softmax: with `p = softmax(row · Bᵀ / temperature)`.
pub(crate) struct Statistics {
    /// The score (row · candidate, not over the temperature) that the sum of each row is relative to: (R).
    pub shift: Tensor,
    /// The log of the sum of the exponentials of `(score - shift) / temperature`: (R). With `shift / temperature` it is the
    /// log-sum-exp; apart, they keep the digits that a large shift would take.
    pub log_sum: Tensor,
    /// The candidate expected under p, `Σ_b p(b) · b`: (R, D).
    pub mean: Tensor,
    /// For each of the first rows, the number of candidates with a logit above the positive's.
    pub above_positive: Vec<u32>,
}

/// How far above the positive's logit another must be to count: the positive itself, computed in another order, must not.
/// Relative to the logit, for single and double precision.
pub(crate) const TOLERANCE_F32: f64 = 2e-6;
pub(crate) const TOLERANCE_F64: f64 = 1e-12;

/// The logit above which a candidate outranks a positive.
pub(crate) fn outranking_logit(positive: f64, tolerance: f64) -> f64 {
    positive + tolerance * (1.0 + positive.abs())
}
