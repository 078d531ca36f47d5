//! The losses of a step, from what is pending on the device to the numbers that are reported.

use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use clsa_loss::{Argument, LossOutput, PendingLoss};

/// What a step measured, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// `contrastive + alpha * ddm`.
    pub loss: f64,
    /// Sum of the InfoNCE terms: of the weak views, and of strong ones in InfoNCE; in both directions of the symmetric variant.
    pub contrastive: f64,
    /// Sum of the pairs' DDM terms.
    pub ddm: f64,
    /// Percentage of the first weak view's samples whose positive has the highest logit.
    pub acc1: f64,
}

/// The loss of some of the queries against the keys of one view.
pub(crate) struct Loss {
    pub weak: Vec<LossQuery>,
    pub strong: Vec<LossQuery>,
    /// Which view the keys are of, for messages.
    pub key_view: &'static str,
    pub pending: PendingLoss,
}

/// A query of a loss.
pub(crate) struct LossQuery {
    /// Its number among the step's queries.
    pub number: usize,
    /// Which view, for messages.
    pub view: String,
}

impl Loss {
    /// Whether a query is one of this loss.
    pub fn is_of(&self, query: usize) -> bool {
        self.weak.iter().chain(&self.strong).any(|of_loss| of_loss.number == query)
    }

    /// The gradient to the embedding of a query, if it is one of this loss.
    pub fn gradient(&self, query: usize) -> Result<Option<Tensor>> {
        let place = |queries: &[LossQuery]| queries.iter().position(|of_loss| of_loss.number == query);
        Ok(match (place(&self.weak), place(&self.strong)) {
            (Some(i), _) => Some(self.pending.weak_gradient(i)?),
            (None, Some(j)) => Some(self.pending.strong_gradient(j)?),
            (None, None) => None,
        })
    }

    /// The name of the first tensor that holds a value which is NaN or infinite.
    fn first_not_finite(&self, measures: &[f64]) -> Option<String> {
        Some(match self.pending.first_not_finite(measures)? {
            Argument::Weak(i) => format!("embedding of {}", self.weak[i].view),
            Argument::Strong(j) => format!("embedding of {}", self.strong[j].view),
            Argument::Keys => format!("key of {}", self.key_view),
        })
    }
}

/// The losses of each part of a batch as numbers, in one copy from the device: the sum over a part's losses, the mean over the parts. Or
/// the name of the first value that is not finite.
pub(crate) fn report(parts: Vec<Vec<Loss>>) -> Result<std::result::Result<StepReport, String>> {
    let measures: Vec<&Tensor> = parts.iter().flatten().map(|loss| loss.pending.measures()).collect();
    let measures = Tensor::cat(&measures, 0)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let mut rest = &measures[..];
    let own = |loss: &Loss| rest.split_off(..loss.pending.measures().elem_count()).unwrap_or_default();
    let of_loss: Vec<&[f64]> = parts.iter().flatten().map(own).collect();
    if let Some(at_fault) = parts.iter().flatten().zip(&of_loss).find_map(|(loss, of)| loss.first_not_finite(of)) {
        return Ok(Err(at_fault));
    }
    let (count, mut of_loss) = (parts.len() as f64, of_loss.into_iter());
    let mut reports = Vec::new();
    for losses in parts {
        let mut outputs = Vec::new();
        for (loss, measures) in losses.into_iter().zip(&mut of_loss) {
            let Loss { weak, strong, pending, .. } = loss;
            let output = pending.finish(measures)?;
            if let Some(term) = term_not_finite(&weak, &strong, &output) {
                return Ok(Err(term));
            }
            outputs.push(output);
        }
        reports.push(sum(&outputs));
    }
    let mean = |figure: fn(&StepReport) -> f64| reports.iter().map(figure).sum::<f64>() / count;
    Ok(Ok(StepReport {
        loss: mean(|report| report.loss),
        contrastive: mean(|report| report.contrastive),
        ddm: mean(|report| report.ddm),
        acc1: mean(|report| report.acc1),
    }))
}

/// The name of the first term that is NaN or infinite.
fn term_not_finite(weak: &[LossQuery], strong: &[LossQuery], output: &LossOutput) -> Option<String> {
    let contrastive = weak.iter().zip(&output.contrastive_per_view).map(|term| ("contrastive", term));
    let ddm = strong.iter().zip(&output.ddm_per_view).map(|term| ("DDM", term));
    let (term, (query, _)) = contrastive.chain(ddm).find(|(_, (_, value))| !value.is_finite())?;
    Some(format!("{term} term of {}", query.view))
}

/// The sum of the losses; the accuracy is that of the first.
fn sum(outputs: &[LossOutput]) -> StepReport {
    let sum = |part: fn(&LossOutput) -> f64| outputs.iter().map(part).sum();
    StepReport {
        loss: sum(|output| output.total),
        contrastive: sum(|output| output.contrastive),
        ddm: sum(|output| output.ddm),
        acc1: outputs.first().map_or(f64::NAN, |output| output.acc1),
    }
}
