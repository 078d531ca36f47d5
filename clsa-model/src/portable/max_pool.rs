//! Padded max pooling with a gradient, which Candle's lacks.

use super::custom_gradient::{CustomGradient, Gradient3};
use super::phases::{Phases, fit};
use crate::error::Result;
use candle_core::Tensor;

/// Max pooling 3x3, stride 2, padding 1. Among equal values the first in reading order gets the gradient, as in PyTorch.
pub(super) fn max_pool(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let phases = Phases::new(3, 2, [h.div_ceil(2), w.div_ceil(2)]);
    let x0 = x.detach();
    let mut taps = max_pool_taps(&x0, &phases)?.into_iter();
    let first = taps.next().expect("a window has nine taps");
    let value = taps.try_fold(first.contiguous()?, |highest, tap| highest.maximum(&tap))?;
    let gradient = move |[x, ..]: [Tensor; 3], highest: &Tensor, grad: &Tensor| -> Gradient3 {
        let mut free = highest.ones_like()?;
        let mut dx: Option<Tensor> = None;
        for (t, tap) in max_pool_taps(&x, &phases)?.iter().enumerate() {
            let chosen = (tap.eq(highest)?.to_dtype(free.dtype())? * &free)?;
            free = (free - &chosen)?;
            let part = phases.scatter(&(grad * chosen)?, t / 3, t % 3)?;
            dx = Some(match dx {
                Some(dx) => (dx + part)?,
                None => part,
            });
        }
        let dx = dx.expect("a window has nine taps");
        let dx = fit(&fit(&dx, 2, h + 2)?, 3, w + 2)?.narrow(2, 1, h)?.narrow(3, 1, w)?;
        Ok([Some(dx.contiguous()?), None, None])
    };
    let none = x0.flatten_all()?.narrow(0, 0, 1)?;
    CustomGradient::node(value, [x, &none, &none], gradient)
}

/// What each of the nine taps of a window sees, in reading order.
fn max_pool_taps(x: &Tensor, phases: &Phases) -> candle_core::Result<Vec<Tensor>> {
    let pad = |x: &Tensor| x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1);
    // Below every activation, and finite in every type, so that the padding is never chosen.
    let outside = ((pad(&x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.ones_like()?)? - 1.0)? * 1e30)?;
    let split = phases.split(&pad(x)?.broadcast_add(&outside)?)?;
    (0..9).map(|t| phases.tap(&split, t / 3, t % 3)).collect()
}
