//! Gradients that are too long together (`torch.nn.utils.clip_grad_norm_`).

use super::Update;
use candle_core::{DType, Tensor};

/// torch adds this to the norm.
const EPSILON: f64 = 1e-6;

/// Scales all gradients by `most / norm` where their norm together is more than `most`. Nothing is copied to the host.
pub(super) fn clip(updates: &mut [Update], most: f64) -> candle_core::Result<()> {
    let squares = updates.iter().map(|update| update.gradient.to_dtype(wide(&update.gradient))?.sqr()?.sum_all());
    let squares = squares.collect::<candle_core::Result<Vec<Tensor>>>()?;
    if squares.is_empty() {
        return Ok(());
    }
    let norm = Tensor::stack(&squares, 0)?.sum_all()?.sqrt()?;
    let scale = ((norm + EPSILON)?.recip()? * most)?.minimum(1.0)?;
    for update in updates {
        update.gradient = update.gradient.broadcast_mul(&scale.to_dtype(update.gradient.dtype())?)?;
    }
    Ok(())
}

/// The type that squares are summed in.
fn wide(gradient: &Tensor) -> DType {
    if gradient.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}
