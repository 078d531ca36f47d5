#![doc = include_str!("../README.md")]

mod affine;
mod augmenter;
mod blur;
mod canvas;
mod center_crop;
mod check;
mod color;
mod convert;
mod corruption;
mod crop;
mod custom_op;
mod error;
mod hue;
mod jitter;
mod layout;
mod limits;
mod lookup;
mod normalize;
mod op;
mod op_table;
mod plan;
mod planes;
mod pool;
mod random;
mod random_blur;
mod resize;
mod seed;
mod sharpness;
mod strong_op;
mod strong_policy;
mod switch;
mod vectorized;
mod view;

pub use augmenter::Augmenter;
pub use center_crop::CenterCrop;
pub use convert::to_rgb;
pub use corruption::{Corruption, CorruptionGroup};
pub use crop::{Crop, random_crop};
pub use custom_op::CustomOp;
pub use error::AugmentError;
pub use jitter::ColorJitter;
pub use layout::{Layout, Value};
pub use limits::MAX_SIDE;
pub use normalize::Normalize;
pub use op::Op;
pub use op_table::{OPS, OpSpec};
pub use plan::ViewPlan;
pub use random_blur::GaussianBlur;
pub use seed::{SampleId, ViewId};
pub use strong_op::{CustomStrongOp, StrongOp};
pub use strong_policy::StrongPolicy;
pub use view::{EarlySize, View};

/// The crate of the images that go in and come out.
pub use image;
/// The crate of the traits [`Rng`](rand::Rng) and [`RngExt`](rand::RngExt), which draws of one's own take.
pub use rand;
/// The crate of the generator that [`ViewId::rng`] returns.
pub use rand_xoshiro;
