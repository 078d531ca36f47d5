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

/// A term of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// InfoNCE.
    Contrastive,
    /// The pairs of a strong view and each weak one.
    Ddm,
}

/// The term of one query against the keys of one view.
pub(crate) struct Loss {
    /// The query's view, for messages.
    pub view: String,
    pub term: Term,
    /// Which view the keys are of, for messages.
    pub key_view: &'static str,
    pub pending: PendingLoss,
}

impl Loss {
    /// The gradient to the query's embedding.
    pub fn gradient(&self) -> Result<Tensor> {
        Ok(match self.term {
            Term::Contrastive => self.pending.weak_gradient(0)?,
            Term::Ddm => self.pending.strong_gradient(0)?,
        })
    }

    /// The name of the first tensor that holds a value which is NaN or infinite.
    fn first_not_finite(&self, measures: &[f64]) -> Option<String> {
        Some(match self.pending.first_not_finite(measures)? {
            Argument::Weak(_) | Argument::Strong(_) => format!("embedding of {}", self.view),
            Argument::Keys => format!("key of {}", self.key_view),
        })
    }
}

/// The losses of each part of a batch as numbers, in one copy from the device: the sum over a part's losses, DDM times `alpha`, and the
/// mean over the parts. Or the name of the first value that is not finite.
pub(crate) fn report(parts: Vec<Vec<Loss>>, alpha: f64) -> Result<std::result::Result<StepReport, String>> {
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
            let Loss { view, term, pending, .. } = loss;
            let output = pending.finish(measures)?;
            let (name, value) = match term {
                Term::Contrastive => ("contrastive", output.contrastive),
                Term::Ddm => ("DDM", output.ddm),
            };
            if !value.is_finite() {
                return Ok(Err(format!("{name} term of {view}")));
            }
            outputs.push(output);
        }
        reports.push(sum(&outputs, alpha));
    }
    let mean = |figure: fn(&StepReport) -> f64| reports.iter().map(figure).sum::<f64>() / count;
    Ok(Ok(StepReport {
        loss: mean(|report| report.loss),
        contrastive: mean(|report| report.contrastive),
        ddm: mean(|report| report.ddm),
        acc1: mean(|report| report.acc1),
    }))
}

/// The sum of the losses; the accuracy is that of the first.
fn sum(outputs: &[LossOutput], alpha: f64) -> StepReport {
    let sum = |part: fn(&LossOutput) -> f64| outputs.iter().map(part).sum::<f64>();
    let (contrastive, ddm) = (sum(|output| output.contrastive), sum(|output| output.ddm));
    StepReport {
        loss: contrastive + alpha * ddm,
        contrastive,
        ddm,
        acc1: outputs.first().map_or(f64::NAN, |output| output.acc1),
    }
}
