//! What the views are compared with.

use candle_core::{DType, Device, Tensor};

use crate::{LossError, MemoryBank, check};

/// The keys of the batch, and a bank of older keys: the columns of the logits, in this order.
///
/// # Examples
/// ```
/// use clsa_loss::candle_core::{DType, Device};
/// use clsa_loss::{Candidates, MemoryBank};
///
/// // The keys of two ranks with 4 samples each, as the second rank sees them.
/// let keys = MemoryBank::random(8, 16, 1, DType::F32, &Device::Cpu)?.rows().clone();
/// let bank = MemoryBank::random(1024, 16, 0, DType::F32, &Device::Cpu)?;
/// let candidates = Candidates::new(&keys).with_bank(&bank).with_first_positive(4);
/// assert_eq!(candidates.first_positive, 4);
/// # Ok::<(), clsa_loss::LossError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The keys of the global batch, all ranks in order: (N_global, D), unit rows. No gradient flows to them.
    pub keys: &'a Tensor,
    /// Keys of earlier batches; all negatives.
    pub bank: Option<&'a MemoryBank>,
    /// The row of `keys` that is the positive of sample 0; sample n's is `first_positive + n`. On rank r with N samples
    /// each, `r * N`.
    pub first_positive: usize,
    /// Whether the keys of other samples are negatives too (CLSA), which needs no bank; otherwise the candidates of a sample are its own
    /// key and the bank (MoCo, He et al. 2019).
    pub batch_negatives: bool,
}

/// Compares the weak views of the batch with one another, as SimCLR does: no keys and no bank.
///
/// The candidates of a sample in one weak view are all rows of all weak views but its own; its positives are the same
/// sample's rows in the other weak views (their cross-entropies are averaged, so that two views give SimCLR's NT-Xent
/// in both directions). Gradients flow through queries and candidates. The distributions of the DDM pair (weak i, strong
/// j) are over the candidates of weak view i.
///
/// # Examples
/// ```
/// use clsa_loss::candle_core::{DType, Device};
/// use clsa_loss::{ClsaLoss, InBatch, MemoryBank};
///
/// // Random unit vectors in place of an encoder's embeddings.
/// let embed = |seed| MemoryBank::random(8, 16, seed, DType::F32, &Device::Cpu).map(|bank| bank.rows().clone());
/// let output = ClsaLoss::default().forward(&[embed(1)?, embed(2)?], &[embed(3)?], InBatch)?;
/// assert_eq!(output.contrastive_per_view.len(), 2);
/// # Ok::<(), clsa_loss::LossError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InBatch;

/// Either kind of candidates, as [`ClsaLoss::forward`](crate::ClsaLoss::forward) takes them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CandidateSet<'a> {
    /// Keys and bank.
    Keys(Candidates<'a>),
    /// The other rows of the batch.
    InBatch,
}

impl<'a> From<Candidates<'a>> for CandidateSet<'a> {
    fn from(candidates: Candidates<'a>) -> Self {
        CandidateSet::Keys(candidates)
    }
}

impl From<InBatch> for CandidateSet<'_> {
    fn from(_: InBatch) -> Self {
        CandidateSet::InBatch
    }
}

impl<'a> Candidates<'a> {
    /// The keys of a batch, (N, D), without a bank; the positive of sample n is row n.
    pub fn new(keys: &'a Tensor) -> Self {
        Self { keys, bank: None, first_positive: 0, batch_negatives: true }
    }

    /// The same with the keys of earlier batches as further negatives.
    #[must_use]
    pub fn with_bank(self, bank: &'a MemoryBank) -> Self {
        Self { bank: Some(bank), ..self }
    }

    /// The same with row `first_positive` as the positive of sample 0.
    #[must_use]
    pub fn with_first_positive(self, first_positive: usize) -> Self {
        Self { first_positive, ..self }
    }

    /// The same without the keys of other samples as negatives, as in MoCo: a bank is needed.
    #[must_use]
    pub fn without_batch_negatives(self) -> Self {
        Self { batch_negatives: false, ..self }
    }

    /// Checks keys and bank against views of `dim` columns on `device`.
    pub(crate) fn check(&self, dim: usize, device: &Device) -> Result<(), LossError> {
        check::matrix("keys", self.keys, Some(dim))?;
        check::device("keys", self.keys, device)?;
        if let Some(bank) = self.bank {
            check::matrix("bank", bank.rows(), Some(dim))?;
            check::device("bank", bank.rows(), device)?;
        }
        let no_keys = self.keys.dims()[0] == 0 || !self.batch_negatives;
        if no_keys && self.bank.is_none_or(MemoryBank::is_empty) {
            return Err(LossError::NoCandidates);
        }
        Ok(())
    }

    /// The positives of a batch: (N, D).
    pub(crate) fn positives(&self, batch: usize, dtype: DType) -> Result<Tensor, LossError> {
        let keys = self.keys.dims()[0];
        if self.first_positive.saturating_add(batch) > keys {
            return Err(LossError::Positive { first_positive: self.first_positive, batch, keys });
        }
        let positives = self.keys.detach().narrow(0, self.first_positive, batch)?;
        Ok(positives.to_dtype(dtype)?)
    }
}
