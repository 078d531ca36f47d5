//! The loss against keys and a memory bank: one pass over the candidates for all views, as the engine computes it.

use candle_core::{DType, Tensor};

use crate::embeddings::Embeddings;
use crate::engine::Engine;
use crate::exact::HighLow;
use crate::own_keys::OwnKeys;
use crate::statistics::{Queries, Statistics};
use crate::terms::{Constants, Terms};
use crate::{Candidates, LossError};

/// The terms and their gradient.
///
/// With μ_i the candidate expected under p_i, `DDM_ij = LSE(strong_j · Bᵀ / τ₂) - strong_j · μ_i / τ₂`: a weak view enters through
/// one mean, a strong view through one log-sum-exp, so that W · S pairs cost W + S passes over the candidates.
pub(crate) fn terms(
    constants: Constants,
    engine: Engine,
    embeddings: &Embeddings,
    candidates: Candidates,
) -> Result<Terms, LossError> {
    let Embeddings { weak, strong, batch, dim, .. } = *embeddings;
    let Constants { temperature: tau, ddm_temperature: tau2, alpha } = constants;
    let z = embeddings.rows.detach();
    if weak == 0 {
        // The sums over weak views, and over pairs with one, are empty.
        let measures = Tensor::zeros(strong, DType::F32, z.device())?;
        return Ok(Terms { measures, gradient: z.zeros_like()? });
    }
    let precision = engine.precision(z.dtype());
    let exact = z.to_dtype(precision)?.reshape((weak + strong, batch, dim))?;
    let weak_rows = exact.narrow(0, 0, weak)?;
    let positives = candidates.positives(batch, precision)?;
    let positive_scores = HighLow::new(&weak_rows)?.row_products(&HighLow::new(&positives)?)?;
    let positive_logits = (positive_scores.sum()? / tau)?;

    // Weak views at τ, then, where it differs, once more at τ₂, then strong views.
    let shared = tau == tau2 || strong == 0;
    let (rows, first_weak_at_tau2) =
        if shared { (z, 0) } else { (Tensor::cat(&[&z.narrow(0, 0, weak * batch)?, &z], 0)?, weak * batch) };
    let mut inverse_temperatures = vec![1.0 / tau; weak * batch];
    inverse_temperatures.resize(rows.dims()[0], 1.0 / tau2);
    // Retrieval is counted for the first weak view.
    let positive_logits = positive_logits.get(0)?;
    let statistics = if candidates.batch_negatives {
        engine.statistics(&Queries { rows, inverse_temperatures, positive_logits, candidates })?
    } else {
        // One pass over the bank alone; then each row's own key.
        let own = OwnKeys::new(&rows, &positives, &inverse_temperatures, precision)?;
        let no_keys = candidates.keys.narrow(0, 0, 0)?;
        let candidates = Candidates { keys: &no_keys, first_positive: 0, ..candidates };
        own.added_to(engine.statistics(&Queries { rows, inverse_temperatures, positive_logits, candidates })?)?
    };
    let Statistics { shift, log_sum, mean, above_positive } = statistics;
    let of_views = |statistic: &Tensor, first: usize, views: usize| {
        statistic.narrow(0, first, views * batch)?.reshape((views, batch))
    };
    let means_of_views =
        |first: usize, views: usize| mean.narrow(0, first, views * batch)?.reshape((views, batch, dim));

    // InfoNCE: LSE - positive logit, and its gradient (mean - positive) / τ, over N samples.
    let above_positives = positive_scores.subtract_from(&of_views(&shift, 0, weak)?)?;
    let contrastive = ((above_positives / tau)? + of_views(&log_sum, 0, weak)?)?.mean(1)?;
    let mut gradient = (means_of_views(0, weak)?.broadcast_sub(&positives)? / (tau * batch as f64))?;
    let mut measures = vec![contrastive];

    // DDM: with M = Σ_i μ_i, Σ_i DDM_ij = W · LSE_j - strong_j · M / τ₂, and its gradient (W · mean_j - M) / τ₂.
    if strong > 0 {
        let targets = means_of_views(first_weak_at_tau2, weak)?.sum(0)?;
        let first_strong = first_weak_at_tau2 + weak * batch;
        let strong_rows = exact.narrow(0, weak, strong)?;
        let expected_scores = HighLow::new(&strong_rows)?.row_products(&HighLow::new(&targets)?)?;
        let above_expected =
            expected_scores.subtract_from(&(of_views(&shift, first_strong, strong)? * weak as f64)?)?;
        let log_sums = (of_views(&log_sum, first_strong, strong)? * weak as f64)?;
        measures.push(((above_expected / tau2)? + log_sums)?.mean(1)?);
        let mean_strong = means_of_views(first_strong, strong)?;
        let gradient_strong =
            ((mean_strong * weak as f64)?.broadcast_sub(&targets)? * (alpha / (tau2 * batch as f64)))?;
        gradient = Tensor::cat(&[gradient, gradient_strong], 0)?;
    }
    measures.push(above_positive);
    Ok(Terms {
        measures: Tensor::cat(&measures, 0)?,
        gradient: gradient.to_dtype(embeddings.rows.dtype())?.reshape(((weak + strong) * batch, dim))?,
    })
}
