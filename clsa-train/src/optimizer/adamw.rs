//! AdamW (Loshchilov & Hutter 2019), as `torch.optim.AdamW`.

use super::Update;
use crate::error::Result;
use clsa_run::OptimConfig;

/// torch's default.
const EPSILON: f64 = 1e-8;

/// `w ← w·(1 - lr·weight_decay)`; `m ← β₁·m + (1-β₁)·g`, `v ← β₂·v + (1-β₂)·g²`;
/// `w ← w - lr / (1-β₁ᵗ) · m / (√v / √(1-β₂ᵗ) + ε)` at the t-th update.
pub(super) fn step(updates: &[Update], config: &OptimConfig, lr: f64, steps: u64) -> Result<()> {
    let [beta1, beta2] = config.betas;
    // The powers of very long trainings are 0.
    let t = i32::try_from(steps + 1).unwrap_or(i32::MAX);
    let (correction1, correction2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
    for update in updates {
        let [first, second] = [update.state[0], update.state[1]];
        let gradient = &update.gradient;
        let m = ((first.as_detached_tensor() * beta1)? + (gradient * (1.0 - beta1))?)?;
        let v = ((second.as_detached_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        let denominator = ((v.sqrt()? / correction2.sqrt())? + EPSILON)?;
        let weight = (update.weight.as_detached_tensor() * (1.0 - lr * update.weight_decay))?;
        update.weight.set(&(weight - ((&m / denominator)? * (lr / correction1))?)?)?;
        first.set(&m)?;
        second.set(&v)?;
    }
    Ok(())
}
