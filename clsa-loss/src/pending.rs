//! A loss whose numbers are still on their device.

use candle_core::{DType, Tensor};

use crate::embeddings::Embeddings;
use crate::terms::{Terms, to_host};
use crate::{Argument, LossError, LossOutput, check};

/// A loss that has been asked for and not been waited for: gradient and measures are on the device, where a GPU may still be
/// at work on them. [`ClsaLoss::begin`](crate::ClsaLoss::begin) makes it.
///
/// A training loop uses the gradients without looking, and brings all numbers of a step from the device in one copy.
///
/// # Examples
/// ```
/// use clsa_loss::candle_core::{DType, Device};
/// use clsa_loss::{Candidates, ClsaLoss, MemoryBank};
///
/// let embed = |seed| MemoryBank::random(8, 16, seed, DType::F32, &Device::Cpu).map(|bank| bank.rows().clone());
/// let (weak, strong, keys) = ([embed(1)?], [embed(2)?], embed(3)?);
/// let pending = ClsaLoss::default().begin(&weak, &strong, Candidates::new(&keys))?;
///
/// assert_eq!(pending.weak_gradient(0)?.dims(), [8, 16]);
/// let measures = pending.measures().to_vec1::<f64>()?; // the one copy
/// assert_eq!(pending.first_not_finite(&measures), None);
/// assert!(pending.finish(&measures)?.total.is_finite());
/// # Ok::<(), clsa_loss::LossError>(())
/// ```
#[derive(Debug)]
pub struct PendingLoss {
    alpha: f64,
    /// The rows of all views, differentiable.
    rows: Tensor,
    weak: usize,
    strong: usize,
    /// Samples of a view.
    batch: usize,
    /// Of all rows.
    gradient: Tensor,
    /// The terms' measures; then for each view and the keys a number that is 0 where all their values are finite.
    measures: Tensor,
    /// Whether there are keys.
    keys: bool,
}

impl PendingLoss {
    pub(crate) fn new(
        alpha: f64,
        embeddings: Embeddings,
        terms: Terms,
        keys: Option<&Tensor>,
    ) -> Result<Self, LossError> {
        let Embeddings { rows, weak, strong, batch, .. } = embeddings;
        let mut flags = vec![check::not_finite(&rows.detach().reshape((weak + strong, ()))?)?];
        if let Some(keys) = keys.filter(|keys| keys.elem_count() > 0) {
            flags.push(check::not_finite(&keys.detach().reshape((1, ()))?)?);
        }
        let mut measures = vec![terms.measures];
        for flag in flags {
            measures.push(flag.to_device(measures[0].device())?.to_dtype(measures[0].dtype())?);
        }
        let keys = measures.len() > 2;
        let measures = Tensor::cat(&measures, 0)?;
        Ok(Self { alpha, rows, weak, strong, batch, gradient: terms.gradient, measures, keys })
    }

    /// The numbers that [`Self::finish`] takes: a vector, on the views' device or the CPU.
    pub fn measures(&self) -> &Tensor {
        &self.measures
    }

    /// The gradient of `contrastive + alpha * ddm` to the weak view of this number: (N, D). Not finite where the loss is not.
    ///
    /// # Errors
    /// Fails with [`LossError::NoView`] if there is no such view.
    pub fn weak_gradient(&self, view: usize) -> Result<Tensor, LossError> {
        if view >= self.weak {
            return Err(LossError::NoView { view: Argument::Weak(view), views: self.weak });
        }
        self.gradient_of(view)
    }

    /// The gradient to the strong view of this number: (N, D).
    ///
    /// # Errors
    /// Fails with [`LossError::NoView`] if there is no such view.
    pub fn strong_gradient(&self, view: usize) -> Result<Tensor, LossError> {
        if view >= self.strong {
            return Err(LossError::NoView { view: Argument::Strong(view), views: self.strong });
        }
        self.gradient_of(self.weak + view)
    }

    /// The gradient to a view, counted through the weak and then the strong ones.
    fn gradient_of(&self, view: usize) -> Result<Tensor, LossError> {
        Ok(self.gradient.narrow(0, view * self.batch, self.batch)?)
    }

    /// The first argument that holds a value which is infinite or NaN, by the numbers of [`Self::measures`].
    pub fn first_not_finite(&self, measures: &[f64]) -> Option<Argument> {
        let flags = self.weak + self.strong + usize::from(self.keys);
        let flags = &measures[measures.len().saturating_sub(flags)..];
        let first = flags.iter().position(|&flag| flag != 0.0)?;
        Some(match first {
            i if i < self.weak => Argument::Weak(i),
            i if i < self.weak + self.strong => Argument::Strong(i - self.weak),
            _ => Argument::Keys,
        })
    }

    /// Waits for the device and gives the loss as numbers.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn wait(self) -> Result<LossOutput, LossError> {
        let measures = to_host(&self.measures)?;
        self.finish(&measures)
    }

    /// The loss, by the numbers of [`Self::measures`].
    ///
    /// # Errors
    /// Fails with [`LossError::NotFinite`] if an argument holds a value that is infinite or NaN, and with
    /// [`LossError::Measures`] if these are not the numbers.
    pub fn finish(self, measures: &[f64]) -> Result<LossOutput, LossError> {
        if measures.len() != self.measures.elem_count() {
            return Err(LossError::Measures { expected: self.measures.elem_count(), got: measures.len() });
        }
        if let Some(argument) = self.first_not_finite(measures) {
            return Err(LossError::NotFinite { argument: argument.to_string() });
        }
        let (contrastive_per_view, rest) = measures.split_at(self.weak);
        let (ddm_per_view, rest) = rest.split_at(self.strong);
        let above_positive = &rest[..if self.weak > 0 { self.batch } else { 0 }];
        // An empty f64 sum is -0.0; adding 0.0 makes it +0.0.
        let contrastive = contrastive_per_view.iter().sum::<f64>() + 0.0;
        let ddm = ddm_per_view.iter().sum::<f64>() + 0.0;
        let total = contrastive + self.alpha * ddm;
        // A scalar that has the value of the loss and, to Candle's backward pass, its gradient: the difference is zero.
        let difference = (&self.rows - self.rows.detach())?;
        let loss = (difference * self.gradient)?.sum_all()?.affine(1.0, total)?;
        let within = |rank: f64| {
            let hits = above_positive.iter().filter(|&&above| above < rank).count();
            100.0 * hits as f64 / above_positive.len() as f64
        };
        Ok(LossOutput {
            loss,
            total,
            contrastive,
            ddm,
            acc1: within(1.0),
            acc5: within(5.0),
            contrastive_per_view: contrastive_per_view.to_vec(),
            ddm_per_view: ddm_per_view.to_vec(),
        })
    }

    /// The empty sum, for candidates on a device.
    pub(crate) fn without_views(device: &candle_core::Device) -> Result<Self, LossError> {
        let none = Tensor::zeros((0, 1), DType::F32, device)?;
        let measures = Tensor::zeros(0, DType::F32, device)?;
        Ok(Self { alpha: 0.0, rows: none.clone(), weak: 0, strong: 0, batch: 0, gradient: none, measures, keys: false })
    }
}
