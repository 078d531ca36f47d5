#![doc = include_str!("../README.md")]

mod error;
mod gpu;
#[cfg(feature = "cuda")]
pub mod memory;
#[cfg(feature = "cuda")]
mod open;
mod shape;

pub use error::{GpuError, Result};
pub use gpu::{Buffer, Convolve, Element, Gpu, KernelArgs};
#[cfg(feature = "cuda")]
pub use open::open;
pub use shape::{ConvShape, Direction};
