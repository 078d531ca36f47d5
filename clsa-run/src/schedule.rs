//! Learning rates over time.

use std::f64::consts::PI;

/// The learning rate of an epoch, 0-based, under the cosine schedule: `lr·½(1 + cos(π·epoch/epochs))`.
///
/// # Examples
/// ```
/// assert_eq!(clsa_run::cosine(0.03, 0, 200), 0.03);
/// assert!(clsa_run::cosine(0.03, 199, 200) < 1e-5);
/// ```
pub fn cosine(lr: f64, epoch: u64, epochs: u64) -> f64 {
    lr * 0.5 * (1.0 + (PI * epoch as f64 / epochs as f64).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_the_rate_and_ends_at_zero() {
        assert_eq!(cosine(0.03, 0, 200), 0.03);
        assert!((cosine(0.03, 100, 200) - 0.015).abs() < 1e-15);
        assert!(cosine(0.03, 200, 200).abs() < 1e-15);
    }
}
