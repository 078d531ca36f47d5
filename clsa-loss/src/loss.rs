//! The CLSA loss: InfoNCE for weak views, DDM for pairs of weak and strong views.

use candle_core::{DType, Tensor};

use crate::embeddings::Embeddings;
use crate::engine::Engine;
use crate::terms::Constants;
use crate::{
    Argument, Backend, CandidateSet, Candidates, DdmTargets, LossError, LossOutput, PendingLoss, check, in_batch,
    keys_and_bank,
};

/// The CLSA loss with its three constants (paper section 3.3; the default is the paper's).
///
/// # Examples
/// ```
/// use clsa_loss::ClsaLoss;
///
/// let sharper = ClsaLoss { temperature: 0.1, ddm_temperature: 0.1, ..ClsaLoss::default() };
/// assert_eq!(sharper.alpha, 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClsaLoss {
    /// τ of the contrastive term; finite and above zero.
    pub temperature: f64,
    /// τ₂ of the DDM term; finite and above zero. One pass serves both terms where it equals `temperature`.
    pub ddm_temperature: f64,
    /// α, the weight of the DDM term: finite, at least zero. With zero, DDM is still computed and reported.
    pub alpha: f64,
    /// What computes the pass over keys and bank.
    pub backend: Backend,
}

impl Default for ClsaLoss {
    fn default() -> Self {
        Self { temperature: 0.2, ddm_temperature: 0.2, alpha: 1.0, backend: Backend::Auto }
    }
}

impl ClsaLoss {
    /// The loss of W weak and S strong views of N samples, each view (N, D) with unit rows, against `candidates`:
    /// [`Candidates`](crate::Candidates) (keys and bank) or [`InBatch`](crate::InBatch).
    ///
    /// With `B = [keys; bank]`, `contrastive` sums over weak views the cross-entropy of `weak_i · Bᵀ / τ` against the positive column
    /// (InfoNCE), and `ddm` sums over pairs the cross-entropy from `softmax(weak_i · Bᵀ / τ₂)`, a target without gradient, to
    /// `softmax(strong_j · Bᵀ / τ₂)`; both are means over samples. Without strong views and batch negatives, this is MoCo v2.
    ///
    /// Rows need not be unit vectors: logits of any finite size are handled without overflow.
    ///
    /// # Errors
    /// Fails with a [`LossError`] that names the argument if views differ in shape, dtype or device, if candidates do not fit
    /// them or are missing, if a value is not finite, if a temperature is not above zero or `alpha` is negative, or if
    /// `CLSA_KERNELS` names an instruction set that this processor lacks.
    ///
    /// # Examples
    /// ```
    /// use clsa_loss::candle_core::{DType, Device, Tensor, Var};
    /// use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
    ///
    /// // Random unit vectors in place of an encoder's embeddings: 8 samples of 16 components.
    /// let embed = |seed| MemoryBank::random(8, 16, seed, DType::F32, &Device::Cpu);
    /// let weak = Var::from_tensor(embed(1)?.rows())?;
    /// let strong = Var::from_tensor(embed(2)?.rows())?;
    /// let keys = embed(3)?.rows().clone();
    /// let bank = MemoryBank::random(1024, 16, 0, DType::F32, &Device::Cpu)?;
    ///
    /// let (weak_views, strong_views) = ([weak.as_tensor().clone()], [strong.as_tensor().clone()]);
    /// let output = ClsaLoss::default().forward(&weak_views, &strong_views, Candidates::new(&keys).with_bank(&bank))?;
    /// assert_eq!(output.total, output.contrastive + output.ddm);
    ///
    /// let gradients = output.loss.backward()?;
    /// assert_eq!(gradients.get(&weak).unwrap().dims(), [8, 16]);
    /// # Ok::<(), clsa_loss::LossError>(())
    /// ```
    pub fn forward<'a>(
        &self,
        weak: &[Tensor],
        strong: &[Tensor],
        candidates: impl Into<CandidateSet<'a>>,
    ) -> Result<LossOutput, LossError> {
        self.begin(weak, strong, candidates)?.wait()
    }

    /// As [`Self::forward`], without waiting for a GPU: gradients can be used at once and the numbers read later. With
    /// [`InBatch`](crate::InBatch) it waits, since the terms are summed on the host.
    ///
    /// # Errors
    /// As [`Self::forward`], except that values are not checked.
    pub fn begin<'a>(
        &self,
        weak: &[Tensor],
        strong: &[Tensor],
        candidates: impl Into<CandidateSet<'a>>,
    ) -> Result<PendingLoss, LossError> {
        match (candidates.into(), Embeddings::new(weak, strong)?) {
            (CandidateSet::Keys(candidates), Some(embeddings)) => {
                let (constants, engine) = self.resolved(&embeddings, candidates)?;
                let terms = keys_and_bank::terms(constants, engine, &embeddings, candidates)?;
                PendingLoss::new(self.alpha, embeddings, terms, Some(candidates.keys))
            }
            (CandidateSet::Keys(candidates), None) => {
                self.constants(DType::F64)?;
                candidates.check(candidates.keys.dims().last().copied().unwrap_or(0), candidates.keys.device())?;
                check::finite(&Argument::Keys.to_string(), candidates.keys)?;
                PendingLoss::without_views(candidates.keys.device())
            }
            (CandidateSet::InBatch, Some(embeddings)) => {
                let terms = in_batch::terms(self.constants(embeddings.rows.dtype())?, &embeddings)?;
                PendingLoss::new(self.alpha, embeddings, terms, None)
            }
            (CandidateSet::InBatch, None) => {
                self.constants(DType::F64)?;
                Err(LossError::TooFewViews { got: 0 })
            }
        }
    }

    /// The contrastive terms of weak views, and what these ask of strong ones: [`Self::begin`] in two calls, of which the second is
    /// [`Self::begin_ddm`]. A training loop can so go back through one view before it makes the next, and keep the activations of one
    /// at a time: `DDM` needs the weak views' distributions, but has no gradient to them.
    ///
    /// # Errors
    /// As [`Self::begin`], and if there is no weak view.
    ///
    /// # Examples
    /// ```
    /// use clsa_loss::candle_core::{DType, Device};
    /// use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
    ///
    /// let embed = |seed| MemoryBank::random(8, 16, seed, DType::F64, &Device::Cpu).map(|bank| bank.rows().clone());
    /// let (weak, strong, keys) = ([embed(1)?], [embed(2)?], embed(3)?);
    /// let (loss, candidates) = (ClsaLoss::default(), Candidates::new(&keys));
    /// let (contrastive, targets) = loss.begin_contrastive(&weak, candidates)?;
    /// let ddm = loss.begin_ddm(&strong, &targets, candidates)?;
    ///
    /// let together = loss.forward(&weak, &strong, candidates)?;
    /// let apart = contrastive.wait()?.total + ddm.wait()?.total;
    /// assert!((apart - together.total).abs() < 1e-12);
    /// # Ok::<(), clsa_loss::LossError>(())
    /// ```
    pub fn begin_contrastive(
        &self,
        weak: &[Tensor],
        candidates: Candidates<'_>,
    ) -> Result<(PendingLoss, DdmTargets), LossError> {
        let embeddings = Embeddings::new(weak, &[])?.ok_or(LossError::NoViews { argument: "weak" })?;
        let (constants, engine) = self.resolved(&embeddings, candidates)?;
        let (terms, targets) = keys_and_bank::contrastive_terms(constants, engine, &embeddings, candidates)?;
        Ok((PendingLoss::new(self.alpha, embeddings, terms, Some(candidates.keys))?, targets))
    }

    /// The DDM terms of strong views, by the targets that weak views have set against the same candidates.
    ///
    /// # Errors
    /// As [`Self::begin`], and if there is no strong view or the targets are of other samples, another precision or on another device.
    pub fn begin_ddm(
        &self,
        strong: &[Tensor],
        targets: &DdmTargets,
        candidates: Candidates<'_>,
    ) -> Result<PendingLoss, LossError> {
        let embeddings = Embeddings::new(&[], strong)?.ok_or(LossError::NoViews { argument: "strong" })?;
        let (constants, engine) = self.resolved(&embeddings, candidates)?;
        let precision = engine.precision(embeddings.rows.dtype());
        targets.check(&[embeddings.batch, embeddings.dim], precision, &embeddings.rows)?;
        let terms = keys_and_bank::ddm_terms(constants, engine, &embeddings, targets, candidates)?;
        PendingLoss::new(self.alpha, embeddings, terms, Some(candidates.keys))
    }

    /// The constants and the engine for views, checked with their candidates.
    fn resolved(&self, embeddings: &Embeddings, candidates: Candidates<'_>) -> Result<(Constants, Engine), LossError> {
        let constants = self.constants(embeddings.rows.dtype())?;
        candidates.check(embeddings.dim, embeddings.device())?;
        Ok((constants, Engine::resolve(self.backend, embeddings.rows.dtype(), embeddings.device())?))
    }

    /// The constants, checked for views of a dtype.
    fn constants(&self, dtype: DType) -> Result<Constants, LossError> {
        let Self { temperature, ddm_temperature, alpha, backend: _ } = *self;
        for (argument, value) in [("temperature", temperature), ("ddm_temperature", ddm_temperature)] {
            // One over the smallest numbers is infinite, and one over the largest of f64 is 0 in f32.
            let factor = if dtype == DType::F64 { value.recip() } else { f64::from(value.recip() as f32) };
            if !(value > 0.0 && value.is_finite() && factor.is_finite() && factor > 0.0) {
                return Err(LossError::Temperature { argument, value });
            }
        }
        if !(alpha >= 0.0 && alpha.is_finite()) {
            return Err(LossError::Alpha { value: alpha });
        }
        Ok(Constants { temperature, ddm_temperature, alpha })
    }
}
