//! The loss against keys and a memory bank, of all views together or of weak and strong ones in turn.

use candle_core::{DType, Tensor};

use crate::embeddings::Embeddings;
use crate::engine::Engine;
use crate::exact::{HighLow, Products};
use crate::own_keys::OwnKeys;
use crate::statistics::{Queries, Statistics};
use crate::terms::{Constants, Terms};
use crate::{Candidates, DdmTargets, LossError};

/// All terms and their gradient, in one pass.
///
/// With μ_i the candidate expected under p_i, `DDM_ij = LSE(strong_j · Bᵀ / τ₂) - strong_j · μ_i / τ₂`: a weak view enters through
/// one mean, a strong view through one log-sum-exp, so that W · S pairs cost W + S passes over the candidates.
pub(crate) fn terms(
    constants: Constants,
    engine: Engine,
    embeddings: &Embeddings,
    candidates: Candidates,
) -> Result<Terms, LossError> {
    if embeddings.weak == 0 {
        // The sums over weak views, and over pairs with one, are empty.
        let z = embeddings.rows.detach();
        let measures = Tensor::zeros(embeddings.strong, DType::F32, z.device())?;
        return Ok(Terms { measures, gradient: z.zeros_like()? });
    }
    let has_pairs = embeddings.strong > 0;
    let pass = Pass::new(constants, engine, embeddings, candidates, has_pairs)?;
    let contrastive = pass.contrastive()?;
    let ddm = if has_pairs { Some(pass.ddm(&pass.targets()?)?) } else { None };
    pass.together([Some(contrastive), ddm])
}

/// The contrastive terms of weak views, of which there is at least one and no strong one, and the targets that these set.
pub(crate) fn contrastive_terms(
    constants: Constants,
    engine: Engine,
    embeddings: &Embeddings,
    candidates: Candidates,
) -> Result<(Terms, DdmTargets), LossError> {
    let pass = Pass::new(constants, engine, embeddings, candidates, true)?;
    let targets = pass.targets()?;
    let contrastive = pass.contrastive()?;
    Ok((pass.together([Some(contrastive), None])?, targets))
}

/// The DDM terms of strong views, of which there is at least one and no weak one.
pub(crate) fn ddm_terms(
    constants: Constants,
    engine: Engine,
    embeddings: &Embeddings,
    targets: &DdmTargets,
    candidates: Candidates,
) -> Result<Terms, LossError> {
    let pass = Pass::new(constants, engine, embeddings, candidates, false)?;
    let ddm = pass.ddm(targets)?;
    pass.together([None, Some(ddm)])
}

/// Terms of some views, and their gradient to these: (views, N, D).
struct OfViews {
    /// By view.
    terms: Tensor,
    gradient: Tensor,
}

/// One pass over the candidates for weak views at τ, for the same at τ₂ where targets are asked for and it is another, and for strong
/// views at τ₂.
struct Pass<'a> {
    constants: Constants,
    embeddings: &'a Embeddings,
    /// (W + S, N, D), of the engine's precision.
    exact: Tensor,
    /// (N, D), of the engine's precision.
    positives: Tensor,
    /// View · positive: of the weak views, and of the first strong one where there are none, (views, N).
    positive_scores: Products,
    /// Of all rows of the pass.
    statistics: Statistics,
    first_weak_at_tau2: usize,
    first_strong: usize,
}

impl<'a> Pass<'a> {
    fn new(
        constants: Constants,
        engine: Engine,
        embeddings: &'a Embeddings,
        candidates: Candidates,
        has_targets: bool,
    ) -> Result<Self, LossError> {
        let Embeddings { weak, strong, batch, dim, .. } = *embeddings;
        let Constants { temperature: tau, ddm_temperature: tau2, alpha: _ } = constants;
        let z = embeddings.rows.detach();
        let precision = engine.precision(z.dtype());
        let exact = z.to_dtype(precision)?.reshape((weak + strong, batch, dim))?;
        let positives = candidates.positives(batch, precision)?;
        let scored = exact.narrow(0, 0, weak.max(1))?;
        let positive_scores = HighLow::new(&scored)?.row_products(&HighLow::new(&positives)?)?;
        // Retrieval is counted for the first view. It is that of a weak one that is reported.
        let positive_logits = (positive_scores.sum()?.get(0)? / if weak > 0 { tau } else { tau2 })?;

        let weak_rows = weak * batch;
        let (rows, first_weak_at_tau2) = match has_targets && tau != tau2 {
            true => (Tensor::cat(&[&z.narrow(0, 0, weak_rows)?, &z], 0)?, weak_rows),
            false => (z, 0),
        };
        let mut inverse_temperatures = vec![1.0 / tau; weak_rows];
        inverse_temperatures.resize(rows.dims()[0], 1.0 / tau2);
        let statistics = if candidates.batch_negatives {
            engine.statistics(&Queries { rows, inverse_temperatures, positive_logits, candidates })?
        } else {
            // One pass over the bank alone; then each row's own key.
            let own = OwnKeys::new(&rows, &positives, &inverse_temperatures, precision)?;
            let no_keys = candidates.keys.narrow(0, 0, 0)?;
            let candidates = Candidates { keys: &no_keys, first_positive: 0, ..candidates };
            own.added_to(engine.statistics(&Queries { rows, inverse_temperatures, positive_logits, candidates })?)?
        };
        let first_strong = first_weak_at_tau2 + weak_rows;
        Ok(Self {
            constants,
            embeddings,
            exact,
            positives,
            positive_scores,
            statistics,
            first_weak_at_tau2,
            first_strong,
        })
    }

    /// A statistic of some views from a row on: (views, N).
    fn of_views(&self, statistic: &Tensor, first: usize, views: usize) -> candle_core::Result<Tensor> {
        let batch = self.embeddings.batch;
        statistic.narrow(0, first, views * batch)?.reshape((views, batch))
    }

    /// The means of some views from a row on: (views, N, D).
    fn means_of_views(&self, first: usize, views: usize) -> candle_core::Result<Tensor> {
        let Embeddings { batch, dim, .. } = *self.embeddings;
        self.statistics.mean.narrow(0, first, views * batch)?.reshape((views, batch, dim))
    }

    /// InfoNCE: `LSE - positive logit`, and its gradient `(mean - positive) / τ`, over N samples.
    fn contrastive(&self) -> Result<OfViews, LossError> {
        let Embeddings { weak, batch, .. } = *self.embeddings;
        let (tau, Statistics { shift, log_sum, .. }) = (self.constants.temperature, &self.statistics);
        let above_positives = self.positive_scores.subtract_from(&self.of_views(shift, 0, weak)?)?;
        let terms = ((above_positives / tau)? + self.of_views(log_sum, 0, weak)?)?.mean(1)?;
        let away = self.means_of_views(0, weak)?.broadcast_sub(&self.positives)?;
        Ok(OfViews { terms, gradient: (away / (tau * batch as f64))? })
    }

    /// `M = Σ_i μ_i`.
    fn targets(&self) -> Result<DdmTargets, LossError> {
        let weak = self.embeddings.weak;
        Ok(DdmTargets { expected: self.means_of_views(self.first_weak_at_tau2, weak)?.sum(0)?, weak })
    }

    /// DDM: `Σ_i DDM_ij = W · LSE_j - strong_j · M / τ₂`, and its gradient `α (W · mean_j - M) / τ₂`, over N samples.
    fn ddm(&self, targets: &DdmTargets) -> Result<OfViews, LossError> {
        let Embeddings { weak, strong, batch, .. } = *self.embeddings;
        let Constants { ddm_temperature: tau2, alpha, .. } = self.constants;
        let Statistics { shift, log_sum, .. } = &self.statistics;
        let (first, pairs, expected) = (self.first_strong, targets.weak as f64, &targets.expected);
        let strong_rows = self.exact.narrow(0, weak, strong)?;
        let expected_scores = HighLow::new(&strong_rows)?.row_products(&HighLow::new(expected)?)?;
        let above_expected = expected_scores.subtract_from(&(self.of_views(shift, first, strong)? * pairs)?)?;
        let log_sums = (self.of_views(log_sum, first, strong)? * pairs)?;
        let terms = ((above_expected / tau2)? + log_sums)?.mean(1)?;
        let away = (self.means_of_views(first, strong)? * pairs)?.broadcast_sub(expected)?;
        Ok(OfViews { terms, gradient: (away * (alpha / (tau2 * batch as f64)))? })
    }

    /// The terms of weak and of strong views, as far as there are such.
    fn together(self, of_views: [Option<OfViews>; 2]) -> Result<Terms, LossError> {
        let Embeddings { weak, strong, batch, dim, .. } = *self.embeddings;
        let (mut measures, mut gradients) = (Vec::new(), Vec::new());
        for OfViews { terms, gradient } in of_views.into_iter().flatten() {
            measures.push(terms);
            gradients.push(gradient);
        }
        if weak > 0 {
            measures.push(self.statistics.above_positive);
        }
        let gradient = Tensor::cat(&gradients, 0)?.to_dtype(self.embeddings.rows.dtype())?;
        Ok(Terms { measures: Tensor::cat(&measures, 0)?, gradient: gradient.reshape(((weak + strong) * batch, dim))? })
    }
}
