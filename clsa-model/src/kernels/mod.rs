//! CPU kernels of a ResNet's training pass on slices: channels-last activations in f32 or bf16 ([`Element`]), weights in f32
//! and torch's layout.
//!
//! They know nothing of tensors. Each is compiled for every instruction set of [`Isa`], takes the one to use, runs in
//! parallel on the current rayon pool, and gives the same bits for any number of threads: work is partitioned by shape
//! alone and every sum has a fixed order.
//!
//! This is the one module of the crate with unsafe code: vector instructions, and threads that write disjoint parts of
//! one slice.

#![allow(unsafe_code)]
// Vector code indexes registers by loop counters that the compiler unrolls.
#![allow(clippy::needless_range_loop, clippy::too_many_arguments)]

mod batch_norm;
mod conv;
mod element;
mod interleave;
mod linear;
mod memory;
mod micro;
mod moments;
mod operand;
mod packing;
mod peak;
mod pool;
mod shape;
mod simd;
mod source;
mod weight_gradient;
mod winograd;
mod winograd_gradient;

pub use batch_norm::{Affine, Gate, Sums, backward_apply, backward_sums, normalize};
pub use conv::{Finish, backward_data, forward, forward_finished};
pub use element::Element;
pub use linear::{linear, linear_backward};
pub use memory::{Buffer, Pool};
pub use moments::Moments;
pub use peak::peak;
pub use pool::{global_avg_pool, global_avg_pool_backward, max_pool, max_pool_backward, max_pool_side};
pub use shape::ConvShape;
pub use simd::Isa;
pub use source::Source;
pub use weight_gradient::backward_weight;
