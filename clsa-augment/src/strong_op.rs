//! The pools of strong operations, as one table: name, and what each is at a level.

use std::fmt::Debug;
use std::mem::discriminant;
use std::sync::Arc;

use rand::{Rng, RngExt};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Op;
use crate::limits::MAX_SIDE;
use crate::random::either_sign;

/// An operation of one's own in the pool of a [`StrongPolicy`](crate::StrongPolicy): says which [`Op`] it is at a level.
///
/// # Examples
/// ```
/// use clsa_augment::rand::{Rng, RngExt};
/// use clsa_augment::{CustomStrongOp, Op, StrongOp, StrongPolicy, View};
///
/// #[derive(Debug)]
/// struct QuarterTurn;
///
/// impl CustomStrongOp for QuarterTurn {
///     fn name(&self) -> &str {
///         "quarter_turn"
///     }
///
///     fn at_level(&self, _level: u32, _side: u32, rng: &mut dyn Rng) -> Op {
///         Op::Rotate(90.0 * f64::from(rng.random_range(0..4_u8)))
///     }
/// }
///
/// let mut policy = StrongPolicy::default();
/// policy.pool.push(StrongOp::custom(QuarterTurn));
/// let view = View { strong: Some(policy), ..View::default() };
/// # view.validate()?;
/// # Ok::<(), clsa_augment::AugmentError>(())
/// ```
pub trait CustomStrongOp: Debug + Send + Sync {
    /// Its name, other than those of the built-in operations. Two custom operations are equal if their names are.
    fn name(&self) -> &str;

    /// The operation at `level` (0 to 10; those of a [`StrongPolicy`](crate::StrongPolicy) are 1 to 9 if it names no others) on a view
    /// of `side` pixels. Everything random must come from `rng`, so that a view depends on its [`ViewId`](crate::ViewId) alone.
    fn at_level(&self, level: u32, side: u32, rng: &mut dyn Rng) -> Op;
}

/// Makes of the table: the enumeration, the two pools, the names and `at_level`.
macro_rules! strong_operations {
    (
        |$level:ident, $side:ident, $rng:ident|
        paper { $($(#[$paper_doc:meta])* $paper:ident = $paper_name:literal => $paper_op:expr;)* }
        extended { $($(#[$extended_doc:meta])* $extended:ident = $extended_name:literal => $extended_op:expr;)* }
    ) => {
        /// An operation of a strong policy's pool; its argument follows from the level.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum StrongOp {
            $($(#[$paper_doc])* $paper,)*
            $($(#[$extended_doc])* $extended,)*
            /// An operation of one's own. It is written by its name like the others but cannot be read: a program adds it to a
            /// pool itself.
            Custom(Arc<dyn CustomStrongOp>),
        }

        impl StrongOp {
            /// The paper's pool of 14.
            pub const PAPER: &'static [Self] = &[$(Self::$paper),*];

            /// The paper's pool with Invert, Cutout and SolarizeAdd (those of FixMatch's RandAugment that the paper leaves out).
            pub const EXTENDED: &'static [Self] = &[$(Self::$paper,)* $(Self::$extended),*];

            /// Names of [`StrongOp::EXTENDED`], in its order.
            const NAMES: &'static [&'static str] = &[$($paper_name,)* $($extended_name),*];

            /// Its name in a configuration, such as `shear_x`.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$paper => $paper_name,)*
                    $(Self::$extended => $extended_name,)*
                    Self::Custom(op) => op.name(),
                }
            }

            /// The operation at `level` (0 to 10, and 10 above that) on a view of `side` pixels. Signs and places are drawn from `rng`.
            pub fn at_level(&self, level: u32, side: u32, rng: &mut impl Rng) -> Op {
                let ($level, $side, $rng) = (level.min(10), side.clamp(1, MAX_SIDE), rng);
                match self {
                    $(Self::$paper => $paper_op,)*
                    $(Self::$extended => $extended_op,)*
                    Self::Custom(op) => op.at_level($level, $side, $rng),
                }
            }
        }
    };
}

strong_operations! {
    |level, side, rng|
    paper {
        /// [`Op::AutoContrast`].
        AutoContrast = "auto_contrast" => Op::AutoContrast;
        /// [`Op::Brightness`] with factor `0.09·v + 0.05`.
        Brightness = "brightness" => Op::Brightness(factor(level));
        /// [`Op::Color`] with factor `0.09·v + 0.05`.
        Color = "color" => Op::Color(factor(level));
        /// [`Op::Contrast`] with factor `0.09·v + 0.05`.
        Contrast = "contrast" => Op::Contrast(factor(level));
        /// [`Op::Equalize`].
        Equalize = "equalize" => Op::Equalize;
        /// [`Op::Identity`].
        Identity = "identity" => Op::Identity;
        /// [`Op::Posterize`] to `⌊0.4·v⌋ + 4` bits.
        Posterize = "posterize" => Op::Posterize(4 + 4 * level / 10);
        /// [`Op::Rotate`] by `⌊3·v⌋` degrees to either side.
        Rotate = "rotate" => Op::Rotate(either_sign(3.0 * f64::from(level), rng));
        /// [`Op::Sharpness`] with factor `0.09·v + 0.05`.
        Sharpness = "sharpness" => Op::Sharpness(factor(level));
        /// [`Op::ShearX`] by `0.03·v` to either side.
        ShearX = "shear_x" => Op::ShearX(either_sign(0.03 * f64::from(level), rng));
        /// [`Op::ShearY`] by `0.03·v` to either side.
        ShearY = "shear_y" => Op::ShearY(either_sign(0.03 * f64::from(level), rng));
        /// [`Op::Solarize`] from `256 - ⌊25.6·v⌋` upwards.
        Solarize = "solarize" => Op::Solarize(256 - 256 * level / 10);
        /// [`Op::TranslateX`] by `⌊0.03·v·side⌋` pixels to either side.
        TranslateX = "translate_x" => Op::TranslateX(either_sign(f64::from(3 * level * side / 100), rng));
        /// [`Op::TranslateY`] by `⌊0.03·v·side⌋` pixels to either side.
        TranslateY = "translate_y" => Op::TranslateY(either_sign(f64::from(3 * level * side / 100), rng));
    }
    extended {
        /// [`Op::Invert`].
        Invert = "invert" => Op::Invert;
        /// [`Op::Cutout`] of a square of `⌊0.02·v·side⌋` pixels, at least 1, around a random point. As in FixMatch, one that would
        /// leave the view on the left or above is moved into it, and one that would on the right or below is cut off.
        Cutout = "cutout" => cutout(2 * level * side / 100, side, rng);
        /// [`Op::SolarizeAdd`] of `⌊11·v⌋`, added or subtracted.
        SolarizeAdd = "solarize_add" => Op::SolarizeAdd(either_sign(f64::from(11 * level), rng) as i32);
    }
}

/// The factor of an enhancement at a level.
fn factor(level: u32) -> f64 {
    0.09 * f64::from(level) + 0.05
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

impl StrongOp {
    /// An operation of one's own.
    pub fn custom(op: impl CustomStrongOp + 'static) -> Self {
        Self::Custom(Arc::new(op))
    }
}

impl PartialEq for StrongOp {
    fn eq(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other) && self.name() == other.name()
    }
}

impl Serialize for StrongOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for StrongOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Self::EXTENDED.iter().find(|op| op.name() == name);
        known.cloned().ok_or_else(|| D::Error::unknown_variant(&name, Self::NAMES))
    }
}
