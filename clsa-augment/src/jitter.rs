//! Random changes of color: torchvision's `ColorJitter`.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::check::{field, probability};
use crate::random::{chance, uniform};
use crate::{AugmentError, Op};

/// torchvision `ColorJitter` inside `RandomApply`: factors drawn from `1 ± strength` (not below 0), a hue turned by up
/// to `± hue` of the circle, the four in random order. The default is MoCo v2's: 0.4, 0.4, 0.4 and 0.1, with probability
/// 0.8.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitter {
    /// Strength of the change of brightness, from 0 to 1,000,000; 0 leaves it out.
    pub brightness: f64,
    /// Strength of the change of contrast, from 0 to 1,000,000; 0 leaves it out.
    pub contrast: f64,
    /// Strength of the change of saturation, from 0 to 1,000,000; 0 leaves it out.
    pub saturation: f64,
    /// Largest turn of the hue, from 0 to 0.5 of the circle; 0 leaves it out.
    pub hue: f64,
    /// Probability that the view is jittered at all.
    pub probability: f64,
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, probability: 0.8 }
    }
}

impl ColorJitter {
    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `hue`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        probability("probability", self.probability)?;
        for (name, strength) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            field((0.0..=1e6).contains(&strength), name, &strength, "a strength from 0 to 1000000")?;
        }
        field((0.0..=0.5).contains(&self.hue), "hue", &self.hue, "from 0 to 0.5")
    }

    /// Draws whether and how a view is jittered and appends the operations to `ops`.
    pub fn draw(&self, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if !chance(self.probability, rng) {
            return;
        }
        // The order is a uniform permutation of four (Fisher and Yates).
        let mut order = [0, 1, 2, 3];
        for last in (1..4).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        let mut factor = |strength: f64| uniform((1.0 - strength).max(0.0), 1.0 + strength, rng);
        let factors = [factor(self.brightness), factor(self.contrast), factor(self.saturation)];
        let hue = uniform(-self.hue, self.hue, rng);
        for which in order {
            match which {
                0 if self.brightness > 0.0 => ops.push(Op::Brightness(factors[0])),
                1 if self.contrast > 0.0 => ops.push(Op::Contrast(factors[1])),
                2 if self.saturation > 0.0 => ops.push(Op::Color(factors[2])),
                3 if self.hue > 0.0 => ops.push(Op::Hue(hue)),
                _ => {}
            }
        }
    }
}
