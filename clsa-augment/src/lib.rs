#![doc = include_str!("../README.md")]

mod affine;
mod augmenter;
mod blur;
mod center_crop;
mod color;
mod convert;
mod draw;
mod error;
mod op;
mod plan;
mod planes;
mod resize;
mod seed;
mod sharpness;
mod strong;
mod table;

pub use augmenter::{Augmenter, Layout};
pub use center_crop::CenterCrop;
pub use convert::to_rgb;
pub use draw::random_crop;
pub use error::AugmentError;
pub use op::{Crop, Op};
pub use plan::{ColorJitter, GaussianBlur, Normalize, View, ViewPlan};
pub use seed::{SampleId, ViewId};
pub use strong::{StrongOp, StrongPolicy};
