//! Values of the five severities, and what becomes of them at other sides than those that they are stated for.

/// Shorter sides that values are stated for: of the images of CIFAR-10 and of the usual crops of ImageNet.
const STATED: [f64; 2] = [32.0, 224.0];

/// Values of the five severities.
pub(super) struct Severities {
    /// Where the shorter side has 32 pixels.
    pub at_32: [f64; 5],
    /// Where the shorter side has 224 pixels.
    pub at_224: [f64; 5],
}

/// A severity, of an image whose shorter side is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// From 0 on.
    pub level: usize,
    /// Pixels of the shorter side.
    pub side: u32,
}

impl Strength {
    /// A value that does not depend on the size of a pixel: between the stated sides on a logarithmic scale, beyond them that of
    /// the nearest.
    pub fn value(self, of: &Severities) -> f64 {
        let [small, large] = STATED;
        let side = f64::from(self.side);
        let (at_small, at_large) = (of.at_32[self.level], of.at_224[self.level]);
        if side <= small {
            at_small
        } else if side >= large {
            at_large
        } else {
            at_small * (at_large / at_small).powf((side / small).ln() / (large / small).ln())
        }
    }

    /// A length in pixels: as [`Strength::value`], but beyond the stated sides it grows and shrinks with the side.
    pub fn length(self, of: &Severities) -> f64 {
        let [small, large] = STATED;
        let side = f64::from(self.side);
        self.value(of) * (side / side.clamp(small, large))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_grow_with_the_side_and_other_values_stay_beyond_the_stated_sides() {
        let table = Severities { at_32: [1.0; 5], at_224: [4.0; 5] };
        let at = |side| Strength { level: 2, side };
        assert_eq!([16, 32, 224, 448].map(|side| at(side).value(&table)), [1.0, 1.0, 4.0, 4.0]);
        assert_eq!([16, 32, 224, 448].map(|side| at(side).length(&table)), [0.5, 1.0, 4.0, 8.0]);
        // Half of the way from 32 to 224 on a logarithmic scale.
        let middle = at(85);
        assert!((middle.value(&table) - 2.0).abs() < 0.01, "{}", middle.value(&table));
        assert_eq!(middle.value(&table), middle.length(&table));
    }
}
