//! Learning rates and momenta over time.

use crate::config::{MethodConfig, OptimConfig, Schedule};
use std::f64::consts::PI;

/// The learning rate of an epoch, 0-based, under the cosine schedule: `lr·½(1 + cos(π·epoch/epochs))`.
///
/// # Examples
/// ```
/// assert_eq!(clsa_run::cosine(0.03, 0, 200), 0.03);
/// assert!(clsa_run::cosine(0.03, 199, 200) < 1e-5);
/// ```
pub fn cosine(lr: f64, epoch: u64, epochs: u64) -> f64 {
    between(lr, 0.0, epoch as f64, epochs as f64)
}

/// From `first` to `last` along half a cosine, `done` from 0 to `all`.
fn between(first: f64, last: f64, done: f64, all: f64) -> f64 {
    if all <= 0.0 {
        // In a training of no epochs, nothing is to come.
        return last;
    }
    (first - last) * 0.5 * (1.0 + (PI * done / all).cos()) + last
}

/// Where in a training a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The epoch, 0-based.
    pub epoch: u64,
    /// The part of it that is done, from 0 to below 1.
    pub part: f64,
    /// All epochs.
    pub epochs: u64,
}

impl OptimConfig {
    /// The learning rate of a step: up from 0 in a straight line for `warmup_epochs`, then down to `final_lr` along half a cosine.
    ///
    /// Where the schedule is by step, this is what MoCo v3 does. By epoch, a warm-up ends its first epoch with `lr / warmup_epochs`,
    /// so that none is without learning.
    ///
    /// # Examples
    /// ```
    /// use clsa_run::{OptimConfig, Progress, Schedule};
    ///
    /// let optim = OptimConfig { lr: 0.3, warmup_epochs: 10, schedule: Schedule::Step, ..OptimConfig::default() };
    /// let lr = |epoch, part| optim.lr_at(Progress { epoch, part, epochs: 110 });
    /// assert_eq!(lr(0, 0.0), 0.0);
    /// assert!((lr(5, 0.0) - 0.15).abs() < 1e-15 && (lr(10, 0.0) - 0.3).abs() < 1e-15);
    /// assert!((lr(60, 0.0) - 0.15).abs() < 1e-15, "half way down");
    /// ```
    pub fn lr_at(&self, at: Progress) -> f64 {
        let Progress { epoch, part, epochs } = at;
        let warmup = self.warmup_epochs;
        let by_step = self.schedule == Schedule::Step;
        if epoch < warmup {
            let done = if by_step { epoch as f64 + part } else { epoch as f64 + 1.0 };
            return self.lr * done / warmup as f64;
        }
        let done = (epoch - warmup) as f64 + if by_step { part } else { 0.0 };
        between(self.lr, self.final_lr, done, epochs.saturating_sub(warmup).max(1) as f64)
    }
}

impl MethodConfig {
    /// The momentum of the key encoder at a step: from `momentum` to `final_momentum` along half a cosine, by step (MoCo v3, BYOL).
    ///
    /// # Examples
    /// ```
    /// use clsa_run::{MethodConfig, Progress};
    ///
    /// let method = MethodConfig { momentum: 0.99, final_momentum: Some(1.0), ..MethodConfig::default() };
    /// let momentum = |epoch| method.momentum_at(Progress { epoch, part: 0.0, epochs: 100 });
    /// assert_eq!((momentum(0), momentum(100)), (0.99, 1.0));
    /// assert!((momentum(50) - 0.995).abs() < 1e-12);
    /// ```
    pub fn momentum_at(&self, at: Progress) -> f64 {
        match self.final_momentum {
            None => self.momentum,
            Some(last) => between(self.momentum, last, at.epoch as f64 + at.part, at.epochs as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_of_no_epochs_is_at_its_end() {
        assert_eq!(cosine(0.03, 0, 0), 0.0);
        let optim = OptimConfig { warmup_epochs: 10, schedule: Schedule::Epoch, ..OptimConfig::default() };
        assert!(optim.lr_at(Progress { epoch: 12, part: 0.0, epochs: 5 }).is_finite());
        let method = MethodConfig { final_momentum: Some(1.0), ..MethodConfig::default() };
        assert_eq!(method.momentum_at(Progress { epoch: 0, part: 0.0, epochs: 0 }), 1.0);
    }

    #[test]
    fn cosine_starts_at_the_rate_and_ends_at_zero() {
        assert_eq!(cosine(0.03, 0, 200), 0.03);
        assert!((cosine(0.03, 100, 200) - 0.015).abs() < 1e-15);
        assert!(cosine(0.03, 200, 200).abs() < 1e-15);
    }

    #[test]
    fn the_papers_schedule_is_the_cosine_by_epoch_to_the_bit() {
        let optim = OptimConfig::default();
        for epoch in 0..200 {
            let lr = |part| optim.lr_at(Progress { epoch, part, epochs: 200 });
            assert_eq!(lr(0.0).to_bits(), (0.03 * 0.5 * (1.0 + (PI * epoch as f64 / 200.0).cos())).to_bits());
            assert_eq!(lr(0.0), lr(0.9));
        }
    }

    #[test]
    fn a_warm_up_by_epoch_reaches_the_rate_in_its_last_epoch_and_the_end_is_the_final_rate() {
        let optim = OptimConfig { lr: 1.0, warmup_epochs: 4, final_lr: 0.1, ..OptimConfig::default() };
        let lr = |epoch| optim.lr_at(Progress { epoch, part: 0.5, epochs: 24 });
        assert_eq!([lr(0), lr(1), lr(3), lr(4)], [0.25, 0.5, 1.0, 1.0]);
        assert!((lr(24) - 0.1).abs() < 1e-12 && (lr(14) - 0.55).abs() < 1e-12);
    }
}
