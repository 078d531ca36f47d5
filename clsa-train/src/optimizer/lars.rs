//! LARS (You, Gitman & Ginsburg 2017), as the optimizer of MoCo v3's public code has it.

use super::Update;
use crate::error::Result;
use candle_core::Tensor;
use clsa_run::OptimConfig;

/// `d ← g + weight_decay·w`, scaled by `trust·|w| / |d|` where neither norm is 0; vectors have neither decay nor scale. Then
/// `v ← momentum·v + d`, `w ← w - lr·v`.
pub(super) fn step(updates: &[Update], config: &OptimConfig, lr: f64) -> Result<()> {
    for update in updates {
        let (weight, velocity) = (update.weight.as_detached_tensor(), update.state[0].as_detached_tensor());
        let direction = if update.is_vector {
            update.gradient.clone()
        } else {
            let direction = (&update.gradient + (&weight * config.weight_decay)?)?;
            let scale = trust(&weight, &direction, config.trust_coefficient)?;
            direction.broadcast_mul(&scale)?
        };
        let velocity = ((velocity * config.momentum)? + direction)?;
        update.weight.set(&(weight - (&velocity * lr)?)?)?;
        update.state[0].set(&velocity)?;
    }
    Ok(())
}

/// `coefficient·|w| / |d|`, or 1 where one of them is 0, as a vector of one on the device.
fn trust(weight: &Tensor, direction: &Tensor, coefficient: f64) -> candle_core::Result<Tensor> {
    // No scalar: Candle hands a GPU the sizes of what it chooses from, of which a scalar has none.
    let norm = |tensor: &Tensor| tensor.sqr()?.sum_all()?.sqrt()?.reshape(1);
    let (weight, direction) = (norm(weight)?, norm(direction)?);
    let zero = weight.zeros_like()?;
    let both = (weight.gt(&zero)? * direction.gt(&zero)?)?;
    let one = weight.ones_like()?;
    both.where_cond(&((&weight * coefficient)? / direction)?, &one)
}
