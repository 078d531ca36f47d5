//! Convolutions by cuDNN's graph API.
//!
//! A [`Product`] is described as a graph of one operation ([`graph`]), cuDNN names the engines that compute it and a plan is
//! made of the first that is good enough ([`plan`]), plans are kept and run ([`convolutions`]). [`descriptor`] is the only
//! file that hands memory to cuDNN.

mod convolutions;
mod descriptor;
mod graph;
mod plan;

pub(crate) use convolutions::Convolutions;
pub use graph::Product;
pub use plan::{Plan, Planner};

use candle_core::cuda_backend::cudarc::cudnn::result;

/// The version of the cuDNN library that is loaded, such as `9.19.0`.
pub fn cudnn_version() -> String {
    let version = result::get_version();
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}
