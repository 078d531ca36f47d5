#![doc = include_str!("../README.md")]

#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
mod driver_error;
mod error;
#[cfg(feature = "cuda")]
mod feed;
mod gpu;
#[cfg(feature = "host-kernels")]
mod host;
mod kernels;
#[cfg(feature = "cuda")]
pub mod memory;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(feature = "cuda")]
mod open;
mod ops;
#[cfg(feature = "cuda")]
mod profile;
mod shape;
#[cfg(feature = "cuda")]
mod shared;
mod tensor;

#[cfg(feature = "cuda")]
pub use cudnn::{Plan, Planner, Product, cudnn_version};
#[cfg(feature = "cuda")]
pub use device::{Cuda, CudaBuffer};
pub use error::{GpuError, Result};
#[cfg(feature = "cuda")]
pub use feed::{Feeder, PinnedBytes, Upload};
pub use gpu::{Buffer, Convolve, Element, Gpu, KernelArgs};
#[cfg(feature = "host-kernels")]
pub use host::{Host, HostBuffer};
pub use kernels::MOST_PLACES;
#[cfg(feature = "nccl")]
pub use nccl::{NcclGroup, NcclId, NcclMean};
#[cfg(feature = "cuda")]
pub use open::{device_count, open};
pub use ops::{
    Area, BatchNorm, Images, Norm, NormGradients, Normalized, Ops, Pooled, SgdOperands, SoftmaxBlock, Source,
    moving_average, sgd,
};
pub use shape::{ConvShape, Direction};
