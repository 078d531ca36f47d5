//! The elementary random draws.

use rand::{Rng, RngExt};

/// True with this probability.
pub(crate) fn chance(probability: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < probability
}

/// A number from `low` to `high`, uniformly.
pub(crate) fn uniform(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// The value or its negative, each half of the time.
pub(crate) fn either_sign(value: f64, rng: &mut impl Rng) -> f64 {
    if rng.random() { value } else { -value }
}
