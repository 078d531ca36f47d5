//! What the views are compared with.

use candle_core::{DType, Device, Tensor};

use crate::{LossError, MemoryBank, check};

/// The keys of the batch, and a bank of older keys: the columns of the logits, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    /// The keys of the global batch, all ranks in order: (N_global, D), unit rows. No gradient flows to them.
    pub keys: &'a Tensor,
    /// Keys of earlier batches; all negatives.
    pub bank: Option<&'a MemoryBank>,
    /// The row of `keys` that is the positive of sample 0; sample n's is `first_positive + n`. On rank r with N samples
    /// each, `r * N`.
    pub first_positive: usize,
}

/// Compare the weak views of the batch with one another, as SimCLR does: no keys and no bank.
///
/// The candidates of a sample in one weak view are all rows of all weak views but its own; its positives are the same
/// sample's rows in the other weak views (their cross-entropies are averaged, so that two views give SimCLR's NT-Xent
/// in both directions). Gradients flow through queries and candidates. The distributions of the DDM pair (weak i, strong
/// j) are over the candidates of weak view i.
#[derive(Clone, Copy, Debug)]
pub struct InBatch;

/// Either kind of candidates, as [`ClsaLoss::forward`](crate::ClsaLoss::forward) takes them.
#[derive(Clone, Copy, Debug)]
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

impl<'a> From<&Candidates<'a>> for CandidateSet<'a> {
    fn from(candidates: &Candidates<'a>) -> Self {
        CandidateSet::Keys(*candidates)
    }
}

impl From<InBatch> for CandidateSet<'_> {
    fn from(_: InBatch) -> Self {
        CandidateSet::InBatch
    }
}

impl Candidates<'_> {
    /// Checks keys and bank against views of `dim` columns on `device`.
    pub(crate) fn check(&self, dim: usize, device: &Device) -> Result<(), LossError> {
        check::matrix("keys", self.keys, Some(dim))?;
        check::device("keys", self.keys, device)?;
        check::finite("keys", self.keys)?;
        if let Some(bank) = self.bank {
            check::matrix("bank", bank.rows(), Some(dim))?;
            check::device("bank", bank.rows(), device)?;
        }
        if self.keys.dims()[0] == 0 && self.bank.is_none_or(MemoryBank::is_empty) {
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
