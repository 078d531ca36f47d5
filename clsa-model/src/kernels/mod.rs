//! CPU kernels of a ResNet's training pass on slices: channels-last activations in f32 or bf16 ([`Element`]), weights in f32
//! and torch's layout.
//!
//! They know nothing of tensors. Each is compiled for every [`InstructionSet`], takes the one to use, runs in parallel on
//! the current rayon pool, and gives the same bits for any number of threads: work is partitioned by shape alone and
//! every sum has a fixed order.
//!
//! **Stability**: this module is public for measurements and tests. It may change in any version; programs use
//! [`Encoder`](crate::Encoder).
//!
//! This is the one module of the crate with unsafe code: vector instructions, and threads that write disjoint parts of
//! one slice.

#![allow(unsafe_code)]
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86_64 has products of bf16"))]

mod activation_view;
mod add_transposed;
mod algorithm;
mod batch_norm;
mod conv;
mod conv_pass;
mod direct;
mod element;
mod folded_norm;
mod interleave;
mod linear;
mod memory;
mod moments;
mod multiply;
mod operand;
mod outer_product;
mod output;
mod packing;
mod pair_packing;
mod passes;
mod peak;
mod pooling;
mod product;
mod shape;
mod simd;
mod span;
mod tile;
mod tiling;
mod weight_gradient;
mod window_copy;
mod winograd;

pub use activation_view::ActivationView;
pub use batch_norm::{Affine, BatchNormPass, BatchNormSums, ReluMask};
pub use clsa_cpu::{InstructionSet, UnavailableInstructionSet};
pub use conv::Conv;
pub use element::Element;
pub use folded_norm::FoldedNorm;
pub use linear::{linear, linear_backward};
pub use memory::{Memory, MemoryPool};
pub use moments::Moments;
pub use peak::peak;
pub use pooling::{global_avg_pool, global_avg_pool_backward, max_pool, max_pool_backward, max_pool_side};
pub use shape::{BatchShape, ConvShape};
