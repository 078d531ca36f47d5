//! Blur of a random strength.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::check::{field, probability};
use crate::random::{chance, uniform};
use crate::{AugmentError, Op};

/// Pillow's `ImageFilter.GaussianBlur` with a random standard deviation (SimCLR, MoCo v2). The default is 0.1 to 2
/// pixels, with probability 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianBlur {
    /// Range of the standard deviation in pixels.
    pub sigma: (f64, f64),
    /// Probability that the view is blurred at all.
    pub probability: f64,
}

impl Default for GaussianBlur {
    fn default() -> Self {
        Self { sigma: (0.1, 2.0), probability: 0.5 }
    }
}

impl GaussianBlur {
    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `sigma`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        probability("probability", self.probability)?;
        let (low, high) = self.sigma;
        let ok = low >= 0.0 && low <= high && high <= 1000.0;
        field(ok, "sigma", &self.sigma, "a range (low, high) with 0 <= low <= high <= 1000")
    }

    /// Draws whether and how much a view is blurred and appends the operation to `ops`.
    pub fn draw(&self, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if chance(self.probability, rng) {
            ops.push(Op::GaussianBlur(uniform(self.sigma.0, self.sigma.1, rng)));
        }
    }
}
