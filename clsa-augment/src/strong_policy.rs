//! The paper's stronger augmentation: how often a strong operation is drawn, from which pool.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::check::{field, probability};
use crate::random::chance;
use crate::{AugmentError, Op, StrongOp, pool};

/// The paper's stronger augmentation (section 4.1): several draws with replacement from a pool of operations, each
/// applied with a probability at a level drawn uniformly from a range. The default is five draws from the paper's pool with
/// probability 0.5 and levels from 1 to 9.
///
/// # Examples
/// ```
/// use clsa_augment::{StrongOp, StrongPolicy, ViewId};
///
/// // Always one rotation or shear.
/// let pool = vec![StrongOp::Rotate, StrongOp::ShearX, StrongOp::ShearY];
/// let policy = StrongPolicy { draws: 1, probability: 1.0, pool, ..StrongPolicy::default() };
/// let mut ops = Vec::new();
/// policy.draw(96, &mut ViewId { seed: 0, epoch: 0, sample: 17, view: 2 }.rng(), &mut ops);
/// assert_eq!(ops.len(), 1);
/// ```
///
/// In a configuration `pool` is `"paper"`, `"extended"` or a list of names:
///
/// ```
/// # use clsa_augment::{StrongOp, StrongPolicy};
/// let policy: StrongPolicy = toml::from_str("draws = 2\npool = ['rotate', 'shear_x']")?;
/// assert_eq!(policy.pool, [StrongOp::Rotate, StrongOp::ShearX]);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrongPolicy {
    /// Number of draws from the pool.
    pub draws: u32,
    /// Probability that a drawn operation is applied.
    pub probability: f64,
    /// The least and the greatest level (0 to 10), each between them equally likely. The paper's, 1 to 9, are not written into a
    /// configuration.
    #[serde(skip_serializing_if = "are_paper_levels")]
    pub levels: (u32, u32),
    /// The operations that are drawn from, all equally likely: `"paper"`, `"extended"` or a list of names.
    #[serde(deserialize_with = "pool::deserialize")]
    pub pool: Vec<StrongOp>,
}

/// The levels that the paper draws.
const PAPER_LEVELS: (u32, u32) = (1, 9);

fn are_paper_levels(levels: &(u32, u32)) -> bool {
    *levels == PAPER_LEVELS
}

impl Default for StrongPolicy {
    fn default() -> Self {
        Self { draws: 5, probability: 0.5, levels: PAPER_LEVELS, pool: StrongOp::PAPER.to_vec() }
    }
}

impl StrongPolicy {
    /// The default policy over the extended pool, which adds Invert, Cutout and SolarizeAdd.
    pub fn extended() -> Self {
        Self { pool: StrongOp::EXTENDED.to_vec(), ..Self::default() }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `pool`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        probability("probability", self.probability)?;
        field(!self.pool.is_empty(), "pool", &self.pool, "a list of at least one operation")?;
        field(self.draws <= 1000, "draws", &self.draws, "at most 1000")?;
        let (least, greatest) = self.levels;
        field(
            least <= greatest && greatest <= 10,
            "levels",
            &self.levels,
            "two whole numbers from 0 to 10, the smaller first",
        )
    }

    /// Draws the operations for one view of `side` pixels and appends those that are applied to `ops`.
    ///
    /// # Panics
    /// If the least of the levels is greater than the greatest, which [`StrongPolicy::validate`] refuses.
    pub fn draw(&self, side: u32, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if self.pool.is_empty() {
            return;
        }
        let (least, greatest) = self.levels;
        for _ in 0..self.draws {
            let op = &self.pool[rng.random_range(0..self.pool.len())];
            let level = rng.random_range(least..=greatest);
            if chance(self.probability, rng) {
                ops.push(op.at_level(level, side, rng));
            }
        }
    }
}
