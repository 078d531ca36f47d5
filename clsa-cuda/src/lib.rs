#![doc = include_str!("../README.md")]

mod error;
mod gpu;
mod shape;

pub use error::{GpuError, Result};
pub use gpu::{Buffer, Convolve, Element, Gpu, KernelArgs};
pub use shape::{ConvShape, Direction};
