use std::fmt;

use rand::{Rng, RngExt};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Op;
use crate::draw::chance;
use crate::plan::MAX_SIDE;

/// The paper's stronger augmentation (section 4.1): several draws with replacement from a pool of operations, each
/// applied with a probability at a level drawn uniformly from 1 to 9. The default is five draws from the paper's pool with
/// probability 0.5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrongPolicy {
    /// Number of draws from the pool.
    pub draws: u32,
    /// Probability that a drawn operation is applied.
    pub probability: f64,
    /// The operations that are drawn from, all equally likely: `"paper"`, `"extended"` or a list of names.
    #[serde(deserialize_with = "pool")]
    pub pool: Vec<StrongOp>,
}

impl Default for StrongPolicy {
    fn default() -> Self {
        Self { draws: 5, probability: 0.5, pool: StrongOp::PAPER.to_vec() }
    }
}

impl StrongPolicy {
    /// The default policy over the extended pool, which adds Invert, Cutout and SolarizeAdd.
    pub fn extended() -> Self {
        Self { pool: StrongOp::EXTENDED.to_vec(), ..Self::default() }
    }

    /// Draws the operations for one view of `side` pixels and appends those that are applied to `ops`.
    pub fn draw(&self, side: u32, rng: &mut impl Rng, ops: &mut Vec<Op>) {
        if self.pool.is_empty() {
            return;
        }
        for _ in 0..self.draws {
            let op = self.pool[rng.random_range(0..self.pool.len())];
            let level = rng.random_range(1..=9);
            if chance(self.probability, rng) {
                ops.push(op.at_level(level, side, rng));
            }
        }
    }
}

/// An operation of a strong policy's pool; its argument follows from the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrongOp {
    /// [`Op::AutoContrast`].
    AutoContrast,
    /// [`Op::Brightness`] with factor `0.09·v + 0.05`.
    Brightness,
    /// [`Op::Color`] with factor `0.09·v + 0.05`.
    Color,
    /// [`Op::Contrast`] with factor `0.09·v + 0.05`.
    Contrast,
    /// [`Op::Equalize`].
    Equalize,
    /// [`Op::Identity`].
    Identity,
    /// [`Op::Posterize`] to `⌊0.4·v⌋ + 4` bits.
    Posterize,
    /// [`Op::Rotate`] by `⌊3·v⌋` degrees to either side.
    Rotate,
    /// [`Op::Sharpness`] with factor `0.09·v + 0.05`.
    Sharpness,
    /// [`Op::ShearX`] by `0.03·v` to either side.
    ShearX,
    /// [`Op::ShearY`] by `0.03·v` to either side.
    ShearY,
    /// [`Op::Solarize`] from `256 - ⌊25.6·v⌋` upwards.
    Solarize,
    /// [`Op::TranslateX`] by `⌊0.03·v·side⌋` pixels to either side.
    TranslateX,
    /// [`Op::TranslateY`] by `⌊0.03·v·side⌋` pixels to either side.
    TranslateY,
    /// [`Op::Invert`].
    Invert,
    /// [`Op::Cutout`] of a square of `⌊0.02·v·side⌋` pixels, at least 1, around a random point. As in FixMatch, one that would
    /// leave the view on the left or above is moved into it, and one that would on the right or below is cut off.
    Cutout,
    /// [`Op::SolarizeAdd`] of `⌊11·v⌋`, added or subtracted.
    SolarizeAdd,
}

impl StrongOp {
    /// The paper's pool of 14.
    pub const PAPER: [Self; 14] = [
        Self::AutoContrast,
        Self::Brightness,
        Self::Color,
        Self::Contrast,
        Self::Equalize,
        Self::Identity,
        Self::Posterize,
        Self::Rotate,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::Solarize,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// The paper's pool with Invert, Cutout and SolarizeAdd (those of FixMatch's RandAugment that the paper leaves out).
    pub const EXTENDED: [Self; 17] = {
        let mut pool = [Self::Invert; 17];
        let mut i = 0;
        while i < 14 {
            pool[i] = Self::PAPER[i];
            i += 1;
        }
        pool[15] = Self::Cutout;
        pool[16] = Self::SolarizeAdd;
        pool
    };

    /// The operation at `level` (1 to 9, at most 10) on a view of `side` pixels. Signs and places are drawn from `rng`.
    pub fn at_level(self, level: u32, side: u32, rng: &mut impl Rng) -> Op {
        let (level, side) = (level.min(10), side.clamp(1, MAX_SIDE));
        let factor = 0.09 * f64::from(level) + 0.05;
        match self {
            Self::AutoContrast => Op::AutoContrast,
            Self::Brightness => Op::Brightness(factor),
            Self::Color => Op::Color(factor),
            Self::Contrast => Op::Contrast(factor),
            Self::Equalize => Op::Equalize,
            Self::Identity => Op::Identity,
            Self::Posterize => Op::Posterize(4 + 4 * level / 10),
            Self::Rotate => Op::Rotate(either_sign(3.0 * f64::from(level), rng)),
            Self::Sharpness => Op::Sharpness(factor),
            Self::ShearX => Op::ShearX(either_sign(0.03 * f64::from(level), rng)),
            Self::ShearY => Op::ShearY(either_sign(0.03 * f64::from(level), rng)),
            Self::Solarize => Op::Solarize(256 - 256 * level / 10),
            Self::TranslateX => Op::TranslateX(either_sign(f64::from(3 * level * side / 100), rng)),
            Self::TranslateY => Op::TranslateY(either_sign(f64::from(3 * level * side / 100), rng)),
            Self::Invert => Op::Invert,
            Self::Cutout => cutout(2 * level * side / 100, side, rng),
            Self::SolarizeAdd => Op::SolarizeAdd(either_sign(f64::from(11 * level), rng) as i32),
        }
    }
}

fn either_sign(value: f64, rng: &mut impl Rng) -> f64 {
    if rng.random() { value } else { -value }
}

/// A square of `length` pixels, at least 1, around a uniformly drawn point; at the edges as [`StrongOp::Cutout`] says.
fn cutout(length: u32, side: u32, rng: &mut impl Rng) -> Op {
    let mut span = || {
        let start = rng.random_range(0..side).saturating_sub(length / 2);
        (start, (start + length.max(1)).min(side) - 1)
    };
    let ((x0, x1), (y0, y1)) = (span(), span());
    Op::Cutout { x0: x0.into(), y0: y0.into(), x1: x1.into(), y1: y1.into() }
}

/// Reads a pool: a name for one of the two known ones, or a list of operations.
fn pool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StrongOp>, D::Error> {
    // Not an untagged enumeration, which would not say which operation is wrong.
    struct Pool;

    impl<'de> Visitor<'de> for Pool {
        type Value = Vec<StrongOp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"paper\", \"extended\" or a list of operations")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<Vec<StrongOp>, E> {
            match name {
                "paper" => Ok(StrongOp::PAPER.to_vec()),
                "extended" => Ok(StrongOp::EXTENDED.to_vec()),
                _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
            }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<StrongOp>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(Pool)
}
