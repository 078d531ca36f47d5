//! Batch norm with what surrounds it in a ResNet: ReLU, and the addition of a residual before it.
//!
//! Forward it is two numbers per channel, [`Affine`], which the next convolution applies while it reads. Backward it is
//! one pass that gathers sums and one that writes the gradient of the convolution's output.

mod affine;
mod backward_apply;
mod backward_sums;
mod chunks;
mod normalize;
mod pass;
mod relu_mask;

pub use affine::Affine;
pub use backward_sums::BatchNormSums;
pub use pass::BatchNormPass;
pub use relu_mask::ReluMask;
